"""Examine an untuned nano on simulated patients of a machine its pretraining never drew: figures with intervals out.

    python benchmarks/held_out_site.py [--model nano] [--patients 120] [--draws 300]

The model's own written answers are scored (`residency.pretrain.examine`); intervals are bootstrapped by patient.
The age of heads stands there twice: told in words, and computed from the outline of a closer look (Hadlock 1984).
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from residency.evaluate.bootstrap import draw_counts, interval
from residency.models.nano.build import IMAGE_SIZE
from residency.models.registry import Opened, open_model
from residency.predict import Asked, answer_samples
from residency.pretrain.examine import Examined, examine_studies, score_studies
from residency.pretrain.studies import Studies, read_studies
from residency.pretrain.tasks import OUTLINED
from residency.questionnaire import load_questionnaire
from residency.recipe import load_recipe
from residency.types import Sample
from residency.ultrasound.outline import measure_circumference, read_points
from residency.ultrasound.phantom import HELD_OUT_SITE, write_phantom
from residency.ultrasound.phantom.growth import weeks_from_hc

WANTED = {
    "q1 F1 a sample": "0.95",
    "plane accuracy": "0.98",
    "NT standard": "0.90",
    "weeks error": "at most 1",
    "boxes mAP50": "0.8",
}
HEAD = "fetal skull"
HEADS = load_recipe(Path(__file__).parents[1] / "recipes" / "fetal-head-outline-nano.yaml").predict
"""How heads are outlined by a closer look."""


def main() -> None:
    """Draw the patients, ask the model, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    asked = parser.parse_args()
    questionnaire = load_questionnaire("fetal8")
    opened = open_model(asked.model)
    with tempfile.TemporaryDirectory() as folder:
        unseen = Path(folder) / "unseen"
        write_phantom(unseen, patients=asked.patients, seed=asked.seed, site=HELD_OUT_SITE.name)
        studies = read_studies([unseen], questionnaire, IMAGE_SIZE)
        rows = list(range(len(studies.scenes)))
        examined = examine_studies(opened.loaded, studies, rows, questionnaire)
        outlined = date_heads(opened, studies, unseen, list(examined.weeks))

    def score(rows: Sequence[int]) -> Mapping[str, float | None]:
        return score_studies(examined, studies, rows, questionnaire) | judge_heads(examined, outlined, studies, rows)

    patients = _by_patient(studies)
    print(f"{len(rows)} images of {len(patients)} patients, site {HELD_OUT_SITE.name}\n")
    print_table(score, rows, patients, asked.draws, asked.seed)


def date_heads(opened: Opened, studies: Studies, folder: Path, rows: Sequence[int]) -> dict[int, float | None]:
    """Return the weeks of those rows that show a measurable head, computed from its outline; None: no outline told."""
    heads = [row for row in rows if "HC" in studies.scenes[row].measures]
    samples = [
        Sample(id=str(row), image=str(folder / studies.scenes[row].truth["image"]), prefix=OUTLINED[HEAD], group="")
        for row in heads
    ]
    said = answer_samples(opened, samples, None, {}, Asked("nano", "own", "test"), HEADS)
    points = {int(one.id): read_points(one.prediction) for one in said}
    lengths = {row: measure_circumference(points[row], studies.scenes[row].field_mm) for row in heads}
    return {row: None if mm is None else weeks_from_hc(mm) for row, mm in lengths.items()}


def judge_heads(
    examined: Examined, outlined: Mapping[int, float | None], studies: Studies, rows: Sequence[int]
) -> dict[str, float | None]:
    """Return the mean absolute error in weeks over heads in the second trimester, by either way of telling the age."""
    figures: dict[str, float | None] = {}
    for name, told in (("told in words", examined.weeks), ("from the outline", outlined)):
        weeks = [(told[row], studies.scenes[row].truth["weeks"]) for row in rows if row in outlined]
        errors = [abs(week - true) for week, true in weeks if week is not None]
        figures[f"weeks error of heads, {name}"] = float(np.mean(errors)) if errors else None
    return figures


def print_table(
    score: Callable[[Sequence[int]], Mapping[str, float | None]],
    rows: Sequence[int],
    patients: Sequence[Sequence[int]],
    draws: int,
    seed: int,
) -> None:
    """Print each figure of the rows with its 95% interval over resampled patients."""
    drawn = [
        score([row for own, count in zip(patients, counts_G, strict=True) for row in [*own] * int(count)])
        for counts_G in draw_counts(len(patients), draws, seed)
    ]
    print("| measure | value | 95% interval | wanted |\n|---|---|---|---|")
    for name, value in score(rows).items():
        values_R = np.array([np.nan if figures[name] is None else figures[name] for figures in drawn], float)
        low, high = interval(values_R, len(patients))
        told = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        print(f"| {name} | {'none' if value is None else f'{value:.3f}'} | {told} | {WANTED.get(name, '')} |")


def _by_patient(studies: Studies) -> list[list[int]]:
    rows_of = defaultdict(list)
    for row, patient in enumerate(studies.patients):
        rows_of[patient].append(row)
    return list(rows_of.values())


if __name__ == "__main__":
    main()
