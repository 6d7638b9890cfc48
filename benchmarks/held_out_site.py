"""Examine an untuned nano on simulated patients of a machine its pretraining never drew: figures with intervals out.

    python benchmarks/held_out_site.py [--model nano] [--patients 120] [--draws 300]

The model's own written answers are scored (`residency.pretrain.examine`); intervals are bootstrapped by patient.
Where something is shown that dates a fetus (head, abdomen, thorax, femur), the age stands there twice: told in words,
and computed from the outline of a closer look (Hadlock 1984).
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
from residency.ultrasound.phantom.growth import size_at, thorax_at, weeks_from_ac, weeks_from_fl, weeks_from_hc

WANTED = {
    "q1 F1 a sample": "0.95",
    "plane accuracy": "0.98",
    "NT standard": "0.90",
    "weeks error": "at most 1",
    "boxes mAP50": "0.8",
}
CLOSER = load_recipe(Path(__file__).parents[1] / "recipes" / "fetal-head-outline-nano.yaml").predict
"""How structures are outlined by a closer look."""
LEAST_POINTS = 3
"""What fewer points outline has no length."""


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
        outlined = date_outlines(opened, studies, unseen, list(examined.weeks))

    def score(rows: Sequence[int]) -> Mapping[str, float | None]:
        return score_studies(examined, studies, rows, questionnaire) | judge_ages(examined, outlined, studies, rows)

    patients = _by_patient(studies)
    print(f"{len(rows)} images of {len(patients)} patients, site {HELD_OUT_SITE.name}\n")
    print_table(score, rows, patients, asked.draws, asked.seed)


def measure_length(points_P2: np.ndarray, field_mm: tuple[float, float]) -> float | None:
    """Return the largest distance in mm between an outline's points, shares of the sides of a picture of this field."""
    if len(points_P2) < LEAST_POINTS:
        return None
    points_mm = points_P2 * field_mm
    return float(np.linalg.norm(points_mm[:, None] - points_mm[None], axis=-1).max())


DATED: dict[str, tuple[str, Callable[[np.ndarray, tuple[float, float]], float | None], Callable[[float], float]]] = {
    "HC": ("fetal skull", measure_circumference, weeks_from_hc),
    "AC": ("abdominal wall", measure_circumference, weeks_from_ac),
    "TC": ("rib cage", measure_circumference, lambda mm: weeks_from_ac(mm * size_at("AC", 20) / thorax_at(20))),
    "FL": ("diaphysis of femur", measure_length, weeks_from_fl),
}
"""What dates a fetus: its measure, the structure, how its outline is measured, and the formula."""


def date_outlines(
    opened: Opened, studies: Studies, folder: Path, rows: Sequence[int]
) -> dict[str, dict[int, float | None]]:
    """Return for each measure the weeks of the rows that show it, computed from the outline; None: no outline told."""
    weeks: dict[str, dict[int, float | None]] = {}
    for measure, (structure, take_measure, formula) in DATED.items():
        shown = [row for row in rows if measure in studies.scenes[row].measures]
        scenes = [studies.scenes[row] for row in shown]
        samples = [
            Sample(id=str(row), image=str(folder / scene.truth["image"]), prefix=OUTLINED[structure], group="")
            for row, scene in zip(shown, scenes, strict=True)
        ]
        said = answer_samples(opened, samples, None, {}, Asked("nano", "own", "test"), CLOSER)
        points = {int(one.id): read_points(one.prediction) for one in said}
        found = {row: take_measure(points[row], scene.field_mm) for row, scene in zip(shown, scenes, strict=True)}
        weeks[measure] = {row: None if mm is None else formula(mm) for row, mm in found.items()}
    return weeks


def judge_ages(
    examined: Examined, outlined: Mapping[str, Mapping[int, float | None]], studies: Studies, rows: Sequence[int]
) -> dict[str, float | None]:
    """Return the mean absolute error in weeks in the second trimester by either way of telling the age, by measure and
    over all of them."""
    figures: dict[str, float | None] = {}
    every = {row: weeks for told in outlined.values() for row, weeks in told.items()}
    for measure, dated in [*outlined.items(), ("any", every)]:
        for name, told in (("told in words", examined.weeks), ("from the outline", dated)):
            weeks = [(told[row], studies.scenes[row].truth["weeks"]) for row in rows if row in dated]
            errors = [abs(week - true) for week, true in weeks if week is not None]
            figures[f"weeks error with {measure}, {name}"] = float(np.mean(errors)) if errors else None
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
