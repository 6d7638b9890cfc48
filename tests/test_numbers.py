"""A number a picture: the recipe for head circumference on drawn discs whose size and pixel spacing are known."""

import csv
import json
from math import pi
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residency.config import Recipe
from residency.data.dataset import load_dataset
from residency.data.ingest import ingest
from residency.errors import CheckFailed
from residency.evaluate.examine import evaluate_run
from residency.evaluate.records import Examination
from residency.exam import examine_fold
from residency.folder import run_folders
from residency.recipe import load_recipe
from residency.report.page import write_report
from residency.types import Quantity
from tests.contract.tiny import build_tiny_nano
from tests.documents import ROOT

PATIENTS, SIDE = 16, 96
QUESTIONNAIRE = ROOT / "recipes" / "head-circumference.questionnaire.yaml"


def draw_heads(folder: Path, tell_all: bool) -> None:
    """Draw two images a patient, each head of another size, and their sheet; `tell_all`: the spacing tells the size."""
    rng = np.random.default_rng(0)
    (folder / "image").mkdir(parents=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    rows = []
    for patient in range(PATIENTS):
        for suffix in ("", "2"):
            radius, spacing = rng.uniform(15, 40), rng.uniform(0.3, 1.4)
            if tell_all:
                radius = 30.0
            ring = np.abs(np.hypot(x - SIDE / 2, y - SIDE / 2) - radius) < 2
            picture = (rng.integers(0, 60, (SIDE, SIDE)) + 180 * ring).astype(np.uint8)
            name = f"{patient:03d}_{suffix}HC.png"
            Image.fromarray(picture).save(folder / "image" / name)
            rows.append([name, f"{spacing:.4f}", f"{2 * pi * radius * spacing:.1f}"])
    with (folder / "head_circumference.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "pixel size(mm)", "head circumference (mm)"], *rows])


def prepare(folder: Path, tell_all: bool = False) -> Recipe:
    draw_heads(folder, tell_all)
    build_tiny_nano(folder / "model")
    sheet, group = folder / "head_circumference.csv", r"pattern:^(\d+)_"
    ingest(sheet, folder / "image", str(QUESTIONNAIRE), folder / "dataset", group, folds=2)
    overrides = [f"data={folder / 'dataset'}", f"out={folder / 'runs'}", f"model={folder / 'model'}", "fold=all"]
    overrides += ["train.epochs=2", "evaluate.draws=200", "predict.max_new_tokens=12"]
    return load_recipe(ROOT / "recipes" / "head-circumference-nano.yaml", overrides)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return prepare(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def examination(recipe: Recipe) -> Examination:
    for fold, run in run_folders(recipe):
        examine_fold(recipe, run, fold, say=lambda _: None)
    return evaluate_run(recipe.out / recipe.name)


def test_numbers_units_spacing_and_patients_are_read(recipe: Recipe) -> None:
    samples = load_dataset(recipe.data).samples
    assert len(samples) == 2 * PATIENTS
    assert len({sample.group for sample in samples}) == PATIENTS
    assert all(isinstance(sample.answer, Quantity) and sample.answer.unit == "mm" for sample in samples)
    assert all(sample.spacing_mm and sample.spacing_mm[0] == sample.spacing_mm[1] for sample in samples)


def test_the_error_is_in_mm_pooled_over_folds_beside_the_floors(examination: Examination) -> None:
    scores = {(score.of, score.metric): score for score in examination.scores if score.subset == "all"}
    for of in ("majority", "probe", "knn"):
        score = scores[of, "mean absolute error"]
        assert score.n == 2 * PATIENTS
        assert score.groups == PATIENTS
        assert score.value is not None
        assert score.low is not None
        assert score.low <= score.value
    own = scores["own", "mean absolute error"]
    assert own.n + own.unscored == 2 * PATIENTS  # what an all but untrained model says may be no number: counted
    assert examination.questions[0].unit == "mm"
    assert not examination.questions[0].higher_is_better


def test_the_report_repeats_what_the_prompt_tells(recipe: Recipe, examination: Examination) -> None:
    page = write_report(recipe.out / recipe.name).read_text(encoding="utf-8")
    assert "The prompt tells the model more than the question: field_mm" in page
    assert "accepted risk" in page.lower()


def test_a_spacing_that_tells_the_size_is_stopped_unless_it_is_accepted(tmp_path: Path) -> None:
    recipe = prepare(tmp_path, tell_all=True)
    fold, run = run_folders(recipe)[0]
    strict = recipe.model_copy(update={"accept": ()})
    with pytest.raises(CheckFailed, match="prompt-leak") as caught:
        examine_fold(strict, run, fold, say=lambda _: None)
    assert "accept: [prompt-leak]" in str(caught.value)
    leak = json.loads((run / "preflight.json").read_text())["prompt_leak"]
    assert leak["hc"]["words"] > 0.5
    examine_fold(recipe, run, fold, say=lambda _: None)  # mended: accepted by name, in the same folder
    assert (run / "adapter").is_dir()
