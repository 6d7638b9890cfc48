"""Tiles cover pictures, boxes come back to where they were, and findings seen twice count once."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.data.tiles import (
    Region,
    Seen,
    boxes_within,
    crop_around,
    cut_tiles,
    is_cut,
    merge_boxes,
    place_boxes,
)
from residency.data.told import boxes_of, read_told
from residency.types import Box, Fold, Question, Questionnaire, Sample, Splits
from tests.run_command import run_residency

SIDES = st.integers(1, 900)


@given(width=SIDES, height=SIDES, side=st.integers(16, 400), overlap=st.floats(0, 0.8))
def test_tiles_cover_the_picture_and_share_what_was_asked(width: int, height: int, side: int, overlap: float) -> None:
    tiles = cut_tiles(width, height, side, overlap)
    seen = np.zeros((height, width), np.uint8)
    for tile in tiles:
        assert 0 <= tile.x0 < tile.x1 <= width
        assert 0 <= tile.y0 < tile.y1 <= height
        assert tile.size == (min(side, width), min(side, height))
        seen[tile.y0 : tile.y1, tile.x0 : tile.x1] = 1
    assert seen.all()
    firsts = sorted({tile.x0 for tile in tiles})
    assert all(one + side - other >= overlap * side - 1 for one, other in pairwise(firsts))


@given(
    side=st.integers(40, 200), x=st.floats(0, 560), y=st.floats(0, 360), across=st.floats(4, 10), down=st.floats(4, 10)
)
def test_a_small_finding_is_whole_in_a_tile_and_comes_back(
    side: int, x: float, y: float, across: float, down: float
) -> None:
    size, box = (600, 400), Box(label="focus", xyxy=(x, y, x + across, y + down))
    whole = [
        (tile, inner)
        for tile in cut_tiles(*size, side, 0.3)
        for inner in boxes_within([box], tile)
        if not is_cut(place_boxes([inner], tile)[0], tile, size)
    ]
    assert whole
    for tile, inner in whole:
        assert place_boxes([inner], tile)[0].xyxy == pytest.approx(box.xyxy)
        (told,) = boxes_of(read_told(tell_places([inner], [], tile.size, True))[0], tile.size)
        assert place_boxes([told], tile)[0].xyxy == pytest.approx(box.xyxy, abs=1 + side / 1000)
    merged = merge_boxes([Seen(place_boxes([inner], tile)[0], -1.0) for tile, inner in whole])
    assert len(merged) == 1


def test_the_surest_of_what_overlaps_is_kept_by_label() -> None:
    boxes = [(0, 0, 10, 10), (1, 1, 11, 11), (2, 2, 6, 6), (30, 30, 40, 40)]
    seen = [Seen(Box(label="a", xyxy=xyxy), sure) for xyxy, sure in zip(boxes, (-2.0, -1.0, -3.0, -4.0), strict=True)]
    seen.append(Seen(Box(label="b", xyxy=boxes[0]), -9.0))
    kept = [(one.box.label, one.box.xyxy[0], one.sure) for one in merge_boxes(seen)]
    assert kept == [("a", 1.0, -1.0), ("a", 30.0, -4.0), ("b", 0.0, -9.0)]


def test_crops_around_proposals_stay_in_the_picture() -> None:
    boxes = [Box(label="a", xyxy=(0, 0, 10, 10)), Box(label="a", xyxy=(590, 390, 600, 400))]
    boxes.append(Box(label="b", xyxy=(100, 100, 300, 200)))
    first, second, third = crop_around(boxes, (600, 400), 100, 9)
    assert (first, second) == (Region(0, 0, 100, 100), Region(500, 300, 600, 400))
    assert third.size == (400, 400)
    assert crop_around(boxes, (600, 400), 100, 1) == [first]


def write_large(folder: Path, count: int = 4, prefix: str = "<OD>") -> None:
    """Bright squares of 10 to 20 px on dark pictures of 320 x 240, asked for by the prefix, and a closed question."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    samples = []
    for number in range(count):
        picture, boxes = rng.integers(0, 60, (240, 320)).astype(np.uint8), []
        for x, y in [(40, 50), (150, 170), (260, 90)][: 1 + number % 3]:
            side = int(rng.integers(10, 21))
            picture[y : y + side, x : x + side] = 255
            boxes.append(Box(label="square", xyxy=(x, y, x + side, y + side)))
        image = f"images/{number}.png"
        Image.fromarray(picture).save(folder / image)
        text = tell_places(boxes, [], (320, 240), labelled=True)
        told = {"image": image, "group": f"P{number}"}
        od = {"id": f"{number}-od", "prefix": prefix, "question": "od", "suffix": text, "answer": text}
        samples.append(Sample(**told, **od, boxes=tuple(boxes)))
        count_told = "several" if len(boxes) > 1 else "one"
        closed = {"id": f"{number}-n", "prefix": "How many?", "question": "n", "suffix": count_told}
        samples.append(Sample(**told, **closed, answer=count_told))
    questions = (
        Question(id="od", type="text", wording=prefix),
        Question(id="n", type="choice", wording="How many?", options=({"name": "one"}, {"name": "several"})),
    )
    fold = Fold(train=("P0", "P1"), val=("P2",), test=("P3",))
    splits = Splits(seed=0, method="made", folds=(fold,))
    write_dataset(Dataset(folder, tuple(samples), Questionnaire(name="squares", questions=questions), splits))


def test_a_dataset_is_cut_with_its_boxes(tmp_path: Path) -> None:
    write_large(tmp_path / "large")
    done = run_residency("tile", tmp_path / "large", "--out", tmp_path / "tiles", "--side", 96, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    dataset = load_dataset(tmp_path / "tiles")
    assert (told["pieces"], told["left_out"]) == (len(dataset.samples), 4)
    assert told["with_marks"] * 2 == told["pieces"]
    assert dataset.splits == load_dataset(tmp_path / "large").splits
    for sample in dataset.samples:
        with Image.open(tmp_path / "tiles" / sample.image) as file:
            tile = np.asarray(file.convert("L"))
        assert tile.shape == (96, 96)
        assert (tile == 255).any() >= bool(sample.boxes)
        for box in sample.boxes:
            x0, y0, x1, y1 = map(int, box.xyxy)
            assert (tile[y0:y1, x0:x1] == 255).all()
        assert len(read_told(sample.suffix or "")) == len(sample.boxes)
    again = run_residency("tile", tmp_path / "large", "--out", tmp_path / "tiles", "--side", 96)
    assert "is there already" in again.err


def test_pictures_are_cropped_around_their_marks(tmp_path: Path) -> None:
    write_large(tmp_path / "large")
    done = run_residency("tile", tmp_path / "large", "--out", tmp_path / "crops", "--around", 3, "--json")
    assert done.code == 0, done.err
    dataset = load_dataset(tmp_path / "crops")
    assert (json.loads(done.out)["pieces"], json.loads(done.out)["left_out"]) == (16, 4)
    widths = set()
    for place, sample in enumerate(dataset.samples):
        with Image.open(tmp_path / "crops" / sample.image) as file:
            crop = np.asarray(file.convert("L"))
        widths.add(crop.shape[1])
        assert (
            crop.shape[1] == 320 if place % 4 == 0 else crop.shape[1] / crop.shape[0] == pytest.approx(4 / 3, abs=0.1)
        )
        assert len(read_told(sample.suffix or "")) == len(sample.boxes) >= 1
        assert (crop == 255).sum() == sum((b.xyxy[2] - b.xyxy[0]) * (b.xyxy[3] - b.xyxy[1]) for b in sample.boxes)
    assert len(widths) > 4, "crops are drawn anew"
    for keys in ((), ("--side", 96, "--around", 2)):
        wrong = run_residency("tile", tmp_path / "large", "--out", tmp_path / "more", *keys)
        assert wrong.code == 2
        assert "either --side or --around" in wrong.err
