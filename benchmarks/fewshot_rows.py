"""A draw in, the rows asked of it and how each is made out."""

import json

from fewshot_bench import Bench, Made
from fewshot_data import Draw
from fewshot_nano import ABLATIONS, CLOSED, NANO, recipe_of, tune_nano
from fewshot_outline import CROPS, ask_outlines, outline_heads, steps_for
from fewshot_rivals import RIVALS
from residency.files import sha256_text
from residency.recipe import dump_recipe

TITLES = {
    "tuned": "nano, tuned with the shipped recipe",
    "outline": "nano, tuned to outline the head by a closer look; the number computed",
    "random": "nano from random weights, the same recipe",
    "probe": "linear probe on nano's tower",
    "knn": "nearest neighbours on nano's tower",
    "lite-probe": "linear probe on EfficientNet-Lite0",
    "lite-tuned": "EfficientNet-Lite0, fine-tuned",
    "lite-phantoms": "EfficientNet-Lite0, fine-tuned after the same phantoms",
    "majority": "majority answer",
    "blind": "nano, tuned, blind (the mean image)",
    "words": "the question's words alone",
}
ABLATED, ABLATED_DRAWS = {("a", 1), ("b", 100), ("s", 1)}, 5


def rows_of(draw: Draw) -> list[str]:
    """Return the rows that a draw is asked for."""
    asked = {"words": draw.experiment.speaks, "outline": draw.experiment.measures}
    rows = [row for row in TITLES if asked.get(row, True)]
    if (draw.experiment.name, draw.size) in ABLATED and draw.number < ABLATED_DRAWS:
        rows += [row for row in ABLATIONS if not (draw.experiment.measures and row in CLOSED)]
    return rows


def settings_of(bench: Bench, draw: Draw, row: str) -> str:
    """Return a digest of what a row's answers depend on, beside the code; '' where an ablation changes nothing."""
    said: list[str] = [row if row != "blind" else "tuned", str(bench.quick)]
    if row in NANO or row in ABLATIONS or row in ("blind", "outline"):
        recipe = recipe_of(bench, draw, row)
        if row in ABLATIONS and recipe == recipe_of(bench, draw, "tuned"):
            return ""
        if row == "outline":
            said += [dump_recipe(ask_outlines(recipe)), str(CROPS)]
        else:
            said += [dump_recipe(recipe)]
        said += [str(bench.steps_of(draw, steps_for(draw) if row == "outline" else 0)), bench.nano_hash]
    elif row in ("probe", "knn"):
        said.append(bench.nano_hash)
    elif row == "lite-phantoms":
        said += [*map(str, bench.phantoms), str(draw.experiment.lite_steps)]
    elif row == "lite-tuned":
        said.append(str(draw.experiment.lite_steps))
    return sha256_text(json.dumps(said))[:12]


def make_row(bench: Bench, draw: Draw, row: str) -> dict[str, Made]:
    """Train and answer; a tuned nano answers blind as well, so one training gives two rows."""
    if row in ("tuned", "blind"):
        return dict(zip(("tuned", "blind"), tune_nano(bench, draw, "tuned", ("own", "blind")), strict=True))
    if row in NANO or row in ABLATIONS:
        return {row: tune_nano(bench, draw, row, ("own",))[0]}
    if row == "outline":
        return {row: outline_heads(bench, draw, recipe_of(bench, draw, row))}
    return {row: RIVALS[row](bench, draw)}
