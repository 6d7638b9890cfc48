"""A classic detector's boxes beside a run's: written to YOLO's layout and read back, scored in the same table."""

import json
from pathlib import Path

import numpy as np
import pytest

from residency.config import Recipe
from residency.data.dataset import load_dataset
from residency.files import write_lines, write_text
from residency.recipe import dump_recipe
from tests.benchmarks import import_benchmark
from tests.run_command import run_residency
from tests.test_detection import SIZE, draw_voc

layout, mirror = import_benchmark("detect_layout"), import_benchmark("detect_mirror")
choose_cut, read_found, write_yolo = layout.choose_cut, layout.read_found, layout.write_yolo
mirror_training = mirror.mirror_training


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    draw_voc(tmp_path / "voc", pictures=20)
    done = run_residency(
        "ingest", "--images", tmp_path / "voc", "--group-by", "image", "--skip-bad", "--out", tmp_path / "dataset"
    )
    assert done.code == 0, done.err
    return tmp_path / "dataset"


def find_all(folder: Path, split: str, out: Path) -> Path:
    """Write what a perfect detector finds, read off the labels in YOLO's layout, and a doubtful box beside each."""
    lines = []
    for image in sorted((folder / "images" / split).iterdir()):
        boxes = []
        for row in (folder / "labels" / split / f"{image.stem}.txt").read_text().splitlines():
            _, x, y, width, height = map(float, row.split())
            sides = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * (*SIZE, *SIZE)
            boxes.append({"label": "disc", "xyxy": sides.tolist(), "confidence": 0.9})
            boxes.append({"label": "disc", "xyxy": [0, 0, 20, 10], "confidence": 0.2})
        lines.append(json.dumps({"image": image.name, "boxes": boxes, "seconds": 0.01}))
    out.write_text("\n".join(lines) + "\n")
    return out


def test_what_a_detector_finds_is_scored_beside_the_run(dataset: Path, tmp_path: Path) -> None:
    read = load_dataset(dataset)
    named = write_yolo(read, tmp_path / "yolo")
    assert {path.name for path in (tmp_path / "yolo" / "images").iterdir()} == {"train", "val", "test"}
    assert len(named) == 20 and "disc" in (tmp_path / "yolo" / "data.yaml").read_text()
    cut = choose_cut(read, find_all(tmp_path / "yolo", "val", tmp_path / "val.jsonl"), named)
    assert 0.2 < cut <= 0.9
    found = find_all(tmp_path / "yolo", "test", tmp_path / "test.jsonl")
    made = read_found(found, read, named, "perfect", "test", cut=cut)
    run = tmp_path / "runs" / "none"
    write_text(run / "config.yaml", dump_recipe(Recipe(name="none", data=dataset, out=tmp_path / "runs")))
    silent = [one.model_copy(update={"mode": "own", "prediction": "nothing", "box_scores": ()}) for one in made]
    write_lines(run / "predictions" / "test.detector.jsonl", made)
    write_lines(run / "predictions" / "test.own.jsonl", silent)
    done = run_residency("evaluate", run, "--json")
    assert done.code == 0, done.err
    scores = {(s["of"], s["metric"]): s["value"] for s in json.loads(done.out)["scores"] if s["subset"] == "all"}
    assert scores["detector", "F1 at IoU 0.5"] == 1, "the doubtful boxes are no answers"
    assert scores["detector", "mAP50"] == pytest.approx(1), "they rank last"
    assert scores["own", "F1 at IoU 0.5"] == 0
    assert scores["own-detector", "gain in F1 at IoU 0.5"] == -1
    files = [run / "predictions" / f"test.{of}.jsonl" for of in ("detector", "own")]
    done = run_residency("compare", *files, "--data", dataset, "--out", tmp_path / "versus")
    assert done.code == 0 and "F1 at IoU 0.5" in done.out, done.err


def test_mirrored_pictures_train_alone_and_carry_their_boxes(dataset: Path, tmp_path: Path) -> None:
    read = load_dataset(dataset)
    made = mirror_training(read, tmp_path / "mirrored")
    assert [len(made.split(name)) for name in ("train", "val", "test")] == [
        4 * len(read.split("train")), len(read.split("val")), len(read.split("test"))
    ]  # fmt: skip
    first = made.split("train")[0]
    turned = next(sample for sample in made.samples if sample.id == f"{first.id}-hv")
    (x0, y0, x1, y1), (width, height) = first.boxes[0].xyxy, SIZE
    assert turned.boxes[0].xyxy == (width - x1, height - y1, width - x0, height - y0)
    assert turned.group == first.group and turned.sha256 != first.sha256
