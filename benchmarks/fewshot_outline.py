"""Heads outlined instead of numbers told: a draw in, circumferences computed from nano's location tokens out.

The path of `residency tile --around`, `residency train` and `predict.closer`: learned from whole pictures and crops,
answered by a closer look.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fewshot_bench import Bench, Made
from fewshot_data import Draw
from fewshot_ingest import RECIPES
from fewshot_nano import train_part
from residency.config import Recipe
from residency.data.cut import crop_dataset
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.exam import predict_run
from residency.files import read_lines
from residency.models.prompts import span_image
from residency.pretrain.nano import Pretraining
from residency.pretrain.tasks import OUTLINED
from residency.recipe import load_recipe
from residency.types import Outline, Prediction, Quantity, Sample
from residency.ultrasound.outline import measure_circumference, read_points, tell_outline

PROMPT = OUTLINED["fetal skull"]
SPREAD = Pretraining().location_spread
"""Location targets are spread as in pretraining."""
CROPS = 4
STEPS, FEWER_STEPS, MANY = 240, 120, 100
"""Steps with that many images, and with fewer: about the recipe's 8 epochs, or more."""
CLOSER = load_recipe(RECIPES / "fetal-head-outline-nano.yaml").predict.closer
"""Chosen inside the training images of one draw (docs/log.md)."""
LINE = 360
"""In how many directions the middle of the annotated line is taken."""


def outline_heads(bench: Bench, draw: Draw, recipe: Recipe) -> Made:
    """Tune on the training images' annotated outlines; an answer that is no outline measures nothing."""
    crops = bench.work / f"crops-{bench.job}"
    shutil.rmtree(crops, ignore_errors=True)
    write_dataset(Dataset(crops / "whole", tuple(map(_ask_outline, draw.train)), None, None))
    crop_dataset(crops / "whole", crops / "cut", CROPS)
    cut = load_dataset(crops / "cut")
    train = tuple(one.model_copy(update={"image": str(cut.image_path(one))}) for one in cut.samples)
    outlined = replace(draw, train=train, test=tuple(map(_ask_outline, draw.test)))
    run, seconds = train_part(bench, outlined, ask_outlines(recipe), steps_for(draw))
    predict_run(run, modes=("own",), floors=False)
    told = {line.id: line.prediction for line in read_lines(run / "predictions" / "test.own.jsonl", Prediction)}
    lengths = {s.id: _measure(s, told[s.id]) for s in draw.test if s.id in told}
    return Made({id: None if mm is None else Quantity(value=mm, unit="mm") for id, mm in lengths.items()}, seconds)


def steps_for(draw: Draw) -> int:
    """Return how many optimizer steps a draw's outlines are learned for."""
    return STEPS if draw.size >= MANY else FEWER_STEPS


def ask_outlines(recipe: Recipe) -> Recipe:
    """Return the shipped recipe as it asks for outlines."""
    changes = {
        "prompt": "{prefix}",
        "train": recipe.train.model_copy(update={"location_spread": SPREAD}),
        "predict": recipe.predict.model_copy(update={"closer": CLOSER}),
    }
    return recipe.model_copy(update=changes)


def _ask_outline(sample: Sample) -> Sample:
    points_P2 = _read_outline(sample)
    with Image.open(sample.image) as file:
        pixels_P2 = points_P2 * file.size
    outline = Outline(label="head", points=tuple(map(tuple, pixels_P2.tolist())))
    asked = {"prefix": PROMPT, "suffix": tell_outline(points_P2), "outlines": (outline,)}
    return sample.model_copy(update=asked | {"question": None, "answer": None})


def _read_outline(sample: Sample) -> np.ndarray:
    """Return the middle of the annotated line as points in shares of the sides, in order about their centre."""
    image = Path(sample.image)
    with Image.open(image.parents[1] / "annotation" / f"{image.stem}_Annotation.png") as file:
        drawn_HW = np.asarray(file.convert("L")) > 127
    rows, columns = np.nonzero(drawn_HW)
    points_P2 = np.stack([(columns + 0.5) / drawn_HW.shape[1], (rows + 0.5) / drawn_HW.shape[0]], 1)
    around_P2 = points_P2 - (points_P2.min(0) + points_P2.max(0)) / 2
    turn_P = (np.arctan2(around_P2[:, 1], around_P2[:, 0]) / (2 * np.pi) * LINE).astype(int) % LINE
    return np.stack([points_P2[turn_P == turn].mean(0) for turn in np.unique(turn_P)])


def _measure(sample: Sample, told: str) -> float | None:
    assert sample.spacing_mm is not None
    return measure_circumference(read_points(told), span_image(sample.image, sample.spacing_mm))
