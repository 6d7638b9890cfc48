"""Boxes from a folder of Pascal VOC to a report, through the installed command, on pictures drawn here."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from residency.data.dataset import load_dataset
from residency.files import read_lines
from residency.types import Prediction
from tests.contract.tiny import build_tiny_nano
from tests.run_command import run_residency

SIZE = (160, 80)
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def draw_voc(folder: Path, pictures: int = 40) -> None:
    """A bright square left or right on a picture that is wider than high; one object of one picture has no area."""
    rng = np.random.default_rng(0)
    for number in range(pictures):
        x0, y0 = (10 if number % 2 else 100) + int(rng.integers(0, 8)), int(rng.integers(8, 24))
        levels = rng.integers(0, 40, (SIZE[1], SIZE[0]), dtype=np.uint8)
        levels[y0 : y0 + 40, x0 : x0 + 40] = 230
        (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations").mkdir(exist_ok=True)
        Image.fromarray(levels).save(folder / "JPEGImages" / f"p{number:02}.png")
        objects = OBJECT.format("disc", x0, y0, x0 + 40, y0 + 40)
        objects += OBJECT.format("dot", 5, 5, 5, 5) if number == 3 else ""
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
        text = f"<annotation><filename>p{number:02}.png</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"p{number:02}.xml").write_text(text)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and answered run: `runs/boxes` over `dataset`."""
    folder = tmp_path_factory.mktemp("detection")
    draw_voc(folder / "voc")
    refused = run_residency("ingest", "--images", folder / "voc", "--group-by", "image", "--out", folder / "dataset")
    assert refused.code == 1
    assert "p03.xml object 2: `dot` box [5, 5, 5, 5] has no area [invalid-box]" in refused.err
    done = run_residency(
        "ingest", "--images", folder / "voc", "--group-by", "image", "--skip-bad", "--out", folder / "dataset"
    )
    assert done.code == 0, done.err
    build_tiny_nano(folder / "model")
    recipe = {
        "name": "boxes",
        "data": str(folder / "dataset"),
        "out": str(folder / "runs"),
        "model": str(folder / "model"),
        "tune": {"lora": None, "train": ["vision", "projector", "language"]},
        "train": {"epochs": 24, "batch_size": 8, "questions_per_image": 1, "learning_rate": 3e-3, "balance": "none",
                  "patience": 24, "augment": "none", "save_steps": 1000},
        "predict": {"max_new_tokens": 16},
        "accept": ["group-by-image"],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = run_residency("train", folder / "recipe.yaml")
    assert done.code == 0, done.err
    done = run_residency("predict", folder / "runs" / "boxes", "--as", "own")
    assert done.code == 0, done.err
    return folder


def test_an_invalid_box_is_never_trained_on(bench: Path) -> None:
    samples = load_dataset(bench / "dataset").samples
    assert {box.label for sample in samples for box in sample.boxes} == {"disc"}
    assert all("dot" not in (sample.suffix or "") for sample in samples)
    learned = json.loads((bench / "runs" / "boxes" / "preflight.json").read_text())["labels"]
    assert learned and "dot" not in json.dumps(learned)


def test_boxes_go_from_voc_to_scores_and_a_report(bench: Path) -> None:
    run = bench / "runs" / "boxes"
    own = list(read_lines(run / "predictions" / "test.own.jsonl", Prediction))
    told = [one for one in own if one.box_scores]
    assert told, "the model says places, and how sure it is"
    assert all(score < 0 for one in told for score in one.box_scores)
    done = run_residency("evaluate", run)
    assert done.code == 0, done.err
    for word in ("F1 at IoU 0.5", "mAP50-95", "mean IoU", "tuned model", "disc"):
        assert word in done.out
    scores = json.loads((run / "scores" / "scores.json").read_text())["scores"]
    found = {s["of"]: s["value"] for s in scores if s["metric"] == "mean IoU" and s["subset"] == "all"}
    assert found["own"] > 0.1, "some places are learned"
    assert found["own"] > (found["base"] or 0)
    done = run_residency("report", run)
    assert done.code == 0, done.err
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "By label" in page and 'class="card placed"' in page


def test_two_runs_are_compared_by_their_boxes(bench: Path, tmp_path: Path) -> None:
    made = bench / "runs" / "boxes" / "predictions"
    done = run_residency("compare", made / "test.own.jsonl", made / "test.base.jsonl", "--out", tmp_path / "versus")
    assert done.code == 0, done.err
    pairs = json.loads((tmp_path / "versus" / "comparison.json").read_text())["pairs"]
    assert [question["metric"] for question in pairs[0]["questions"]] == ["F1 at IoU 0.5"]
