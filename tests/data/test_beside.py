"""Boxes that lie beside a sheet of answers, through the command: one dataset, grouped as the sheet is."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from residency.data.dataset import load_dataset
from tests.run_command import run_residency

QUESTIONNAIRE = """name: planes
questions:
- id: plane
  type: choice
  wording: "Plane: which one is it?"
  headings: [Plane]
  options: [{name: brain}, {name: femur}]
"""


def lay_out(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    rows = ["Image,Patient,Plane"]
    boxes = []
    for number in range(8):
        name, plane = f"{number}.png", ("brain", "femur")[number % 2]
        levels = np.random.default_rng(number).integers(0, 255, (5, 10), dtype=np.uint8)
        Image.fromarray(levels.repeat(10, 0).repeat(10, 1)).save(folder / "images" / name)
        rows.append(f"{name},P{number // 2},{plane}")
        boxes.append({"image_filename": name, "label": plane, "bbox": [10 + number, 5, 60 + number, 30]})
    (folder / "sheet.csv").write_text("\n".join(rows) + "\n")
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder / "q.yaml").write_text(QUESTIONNAIRE)


def ingest(folder: Path, boxes: Path, *more: object) -> tuple[int, str]:
    done = run_residency(
        "ingest", "--images", folder / "images", "--sheet", folder / "sheet.csv", "--boxes", boxes, "--questionnaire",
        folder / "q.yaml", "--group-by", "column:Patient", "--out", folder / "dataset", *more,
    )  # fmt: skip
    return done.code, done.out + done.err


def test_a_sheet_and_its_boxes_are_one_dataset(tmp_path: Path) -> None:
    lay_out(tmp_path)
    code, told = ingest(tmp_path, tmp_path / "boxes.json")
    assert code == 0, told
    assert "`bbox` -> <OD>" in told
    dataset = load_dataset(tmp_path / "dataset")
    assert dataset.questionnaire and [q.id for q in dataset.questionnaire.questions] == ["plane", "od"]
    by_image: dict[str, list[tuple[str | None, str]]] = {}
    for sample in dataset.samples:
        by_image.setdefault(sample.image, []).append((sample.question, sample.group))
    assert len(by_image) == 8
    for asked in by_image.values():
        assert sorted(question or "" for question, _ in asked) == ["od", "plane"]
        assert len({group for _, group in asked}) == 1, "the box is of the sheet's patient"
    first = next(sample for sample in dataset.samples if sample.question == "od")
    assert first.suffix == "brain<loc_100><loc_100><loc_600><loc_600>"
    assert first.boxes[0].xyxy == (10, 5, 60, 30)


def test_a_bad_box_is_listed_with_its_place(tmp_path: Path) -> None:
    lay_out(tmp_path)
    boxes = json.loads((tmp_path / "boxes.json").read_text())
    boxes[2]["bbox"] = [10, 5, 10, 30]
    boxes[3]["bbox"] = [1, 2, 3]
    del boxes[4]["label"]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    code, told = ingest(tmp_path, tmp_path / "boxes.json")
    assert code == 1
    assert "boxes.json item 3: `brain` box [10, 5, 10, 30] has no area [invalid-box]" in told
    assert "item 4" in told and "item 5" in told
    code, told = ingest(tmp_path, tmp_path / "boxes.json", "--skip-bad")
    assert code == 0, told
    asked = [sample for sample in load_dataset(tmp_path / "dataset").samples if sample.question == "od"]
    assert len(asked) == 5


def test_what_holds_no_boxes_is_refused_with_the_layouts_that_do(tmp_path: Path) -> None:
    lay_out(tmp_path)
    code, told = ingest(tmp_path, tmp_path / "nowhere.json")
    assert code == 2 and "no boxes at" in told
    (tmp_path / "other.json").write_text("[1, 2]")
    code, told = ingest(tmp_path, tmp_path / "other.json")
    assert code == 2 and "holds no boxes" in told and "voc" in told
