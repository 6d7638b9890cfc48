"""Heat maps through the command: what they mark is where the answer comes from, and the deletion test says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.ndimage import binary_dilation

from residency.explain.picture import Picture
from residency.explain.split import Explained
from residency.files import read_lines
from residency.ultrasound.phantom import CATEGORIES, TRAINING_SITES, draw_image
from tests.discs import build_bench
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny nano that has learned on which side a disc is."""
    folder = build_bench(tmp_path_factory.mktemp("explain"), images=32)
    values = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    values["train"] |= {"epochs": 25, "batch_size": 8, "learning_rate": 3e-4, "patience": 25, "augment": "none"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert run_residency("train", folder / "recipe.yaml").code == 0
    return folder / "runs" / "discs"


def test_a_map_marks_what_the_answer_needs(run: Path, tmp_path: Path) -> None:
    done = run_residency("explain", run, "--split", "train", "--questions", "side", "--images", 12, "--out", tmp_path)
    assert done.code == 0, done.err
    assert "difference" in done.out
    outcome = json.loads((tmp_path / "train.json").read_text())["outcomes"][0]
    assert (outcome["question"], outcome["answers"]) == ("side", 12)
    lines = read_lines(tmp_path / "train.jsonl", Explained)
    assert len(lines) == 12
    for line in lines:
        heat = np.array(line.heat)
        left, right = heat[:, : heat.shape[1] // 2].sum(), heat[:, heat.shape[1] // 2 + 1 :].sum()
        assert (left > right) == (line.prediction == "left side")
        with Image.open(line.picture) as picture:
            assert picture.size == (64, 64)
    assert outcome["low"] > 0  # deleting the marked place costs more than deleting others, beyond chance


def test_a_question_that_was_not_asked_is_told(run: Path, tmp_path: Path) -> None:
    done = run_residency("explain", run, "--questions", "colour", "--out", tmp_path)
    assert done.code == 2
    assert "no answer to colour" in done.err
    assert "side" in done.err


def test_what_covers_a_region_looks_like_its_surroundings() -> None:
    drawing = draw_image(CATEGORIES[0], 0, TRAINING_SITES[0])
    picture = Picture.of(Image.fromarray(drawing.image))
    heat = np.zeros((7, 7), np.float32)
    heat[3, 3] = 1
    region = picture.mark(heat, 0.1)
    assert region.sum() == round(0.1 * picture.sector.mask_HW.sum())
    assert not (region & ~picture.sector.mask_HW).any()
    before, after = (np.asarray(image.convert("L"), float) for image in (
        picture.image, picture.cover(region, np.random.default_rng(1))
    ))  # fmt: skip
    around = binary_dilation(region, iterations=12) & ~binary_dilation(region, iterations=6) & picture.sector.mask_HW
    beyond = ~binary_dilation(region, iterations=8)
    assert np.abs(after - before)[beyond].max() <= 1  # nothing else changes
    assert np.abs(after - before)[region].mean() > 5
    assert abs(after[region].mean() - before[around].mean()) < 0.2 * before[around].mean()
    assert 0.5 < after[region].std() / before[around].std() < 2


def test_nothing_is_covered_outside_the_sector() -> None:
    picture = Picture.of(Image.fromarray(draw_image(CATEGORIES[0], 0, TRAINING_SITES[0]).image))
    outside = ~binary_dilation(picture.sector.mask_HW, iterations=8)
    covered = np.asarray(picture.cover(outside, np.random.default_rng(1)), int)
    assert outside.sum() > 1000
    assert np.abs(covered - np.asarray(picture.image, int)).max() <= 1
