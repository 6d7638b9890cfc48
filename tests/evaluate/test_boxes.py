"""Our figures of boxes and outlines against the reference evaluator, by hand, and under every resample."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from residency.data.places import tell_places
from residency.data.told import boxes_of, outlines_of, read_told
from residency.evaluate.bootstrap import estimate
from residency.evaluate.boxes import MAP, MAP50, Ranking, match_coco, rank_boxes, tally_boxes
from residency.evaluate.metric import Tally
from residency.evaluate.outlines import overlap_regions
from residency.evaluate.places import Marked
from residency.report.drawn import TOLD, TRUE, draw_places
from residency.types import Box, Outline

SIZE = (320, 200)
LABELS = ("cell", "disc", "ghost")


def draw_box(rng: np.random.Generator) -> Box:
    (x, y), (width, height) = rng.uniform(0, (260, 150)), rng.uniform(8, 50, 2)
    return Box(label=str(rng.choice(LABELS[:2])), xyxy=(x, y, x + width, y + height))


def mark(boxes: list[Box], sure: list[float] | None = None) -> Marked:
    return Marked(SIZE, tuple(boxes), tuple(sure or [0.0] * len(boxes)), (True,) * len(boxes))


def draw_pictures(seed: int, pictures: int = 30) -> tuple[list[Marked], list[Marked | None]]:
    """True boxes, and boxes near most of them with others between; of some pictures nothing is told."""
    rng = np.random.default_rng(seed)
    truths, told = [], []
    for _ in range(pictures):
        boxes = [draw_box(rng) for _ in range(rng.integers(1, 8))]
        near = [np.array(box.xyxy) + rng.normal(0, 3, 4) for box in boxes]
        found = [Box(label=box.label, xyxy=tuple(xyxy)) for box, xyxy in zip(boxes, near, strict=True)
                 if rng.random() < 0.8 and (xyxy[2:] > xyxy[:2] + 1).all()]  # fmt: skip
        found += [draw_box(rng) for _ in range(rng.integers(0, 4))]
        truths.append(mark(boxes))
        told.append(mark(found, list(rng.normal(-1, 1, len(found)))) if found else None)
    return truths, told


def value_of(tally: Tally) -> float:
    return float(tally.value(tally.rows_ND.sum(axis=0, keepdims=True))[0])


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_the_coco_evaluator(seed: int) -> None:
    truths, told = draw_pictures(seed)
    evaluator = match_coco(truths, told, LABELS[:2])
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    precision = evaluator.eval["precision"]  # overlaps, recalls, labels, areas, most
    found = {tally.metric: value_of(tally) for tally in tally_boxes(truths, told)}
    assert found[MAP] == pytest.approx(float(precision.mean()), abs=1e-12)
    assert found[MAP50] == pytest.approx(float(precision[0].mean()), abs=1e-12)
    assert 0.1 < found[MAP] < found[MAP50] < 1


def test_a_resample_has_the_precision_of_the_pictures_drawn() -> None:
    truths, told = draw_pictures(9, 12)
    drawn = np.random.default_rng(1).integers(0, 12, 12)
    weights = np.bincount(drawn, minlength=12).astype(float)[None]
    again = tally_boxes([truths[n] for n in drawn], [told[n] for n in drawn])
    for own, repeated in zip(tally_boxes(truths, told), again, strict=True):
        assert float(own.value(weights @ own.rows_ND)[0]) == pytest.approx(value_of(repeated), abs=1e-9)


def test_intervals_of_precision_hold_the_value_and_draw_groups_whole() -> None:
    truths, told = draw_pictures(3, 40)
    tally = next(tally for tally in tally_boxes(truths, told) if tally.metric == MAP50)
    apart = estimate(tally, [f"g{n}" for n in range(40)])
    pairs = estimate(tally, [f"g{n // 8}" for n in range(40)])
    assert apart.value == pairs.value and (apart.groups, pairs.groups) == (40, 5)
    assert apart.low is not None and apart.high is not None and apart.low < apart.value < apart.high
    assert pairs.note == "too few groups"


def test_a_ranking_without_told_boxes_has_no_precision() -> None:
    truths, _ = draw_pictures(5, 3)
    (first, *_), told = rank_boxes(tuple(truths), (None, None, None)), [None, None, None]
    assert isinstance(first, Ranking) and not len(first.picture_D)
    values = {tally.metric.name: value_of(tally) for tally in tally_boxes(truths, told)}
    assert values["mAP50"] == values["F1 at IoU 0.5"] == values["mean IoU"] == 0
    assert np.isnan(values["precision at IoU 0.5"])


@pytest.mark.parametrize("size", [(640, 480), (300, 900)])
def test_places_come_back_in_the_originals_pixels(size: tuple[int, int]) -> None:
    """Pictures are squeezed to the model's square: shares of the sides are what is told, whatever their ratio."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.45, (20, 2)) * size
    boxes = [Box(label="c", xyxy=(*low, *(low + np.array(size) * 0.4))) for low in corners.tolist()]
    back = [box for run in read_told(tell_places(boxes, (), size, True)) for box in boxes_of(run, size)]
    assert len(back) == len(boxes)
    for box in boxes:
        nearest = min(np.abs(np.array(box.xyxy) - other.xyxy).max() for other in back)
        assert nearest <= 0.5 * max(size) / 1000 + 1e-6, "half a location token"


def test_labels_and_runs_are_read_in_both_notations() -> None:
    told = read_told("red cell<loc_10><loc_20><loc_30><loc_40><loc_50><loc_60><loc_70><loc_80>disc<loc_1><loc_2>")
    assert [run.label for run in told] == ["red cell", "disc"]
    assert [len(boxes_of(run, (1000, 1000))) for run in told] == [2, 0], "two boxes of one label; two numbers are none"
    other = read_told("<loc0020><loc0010><loc0040><loc0030> red cell ; <loc0100><loc0100><loc0200><loc0300> disc")
    assert [run.label for run in other] == ["red cell", "disc"]
    assert boxes_of(other[0], (1024, 1024))[0].xyxy == (10.5, 20.5, 30.5, 40.5)
    assert read_told("no place, <loc_> at all") == []


def test_overlap_of_regions_is_that_of_filled_pictures() -> None:
    """Against Pillow's own filling, at the original's pixels."""
    rng = np.random.default_rng(2)
    rings = []
    for _ in range(2):
        reach_P, angle_P = rng.uniform(40, 80, 24), np.arange(24) * 2 * np.pi / 24
        rings.append([(160 + r * np.cos(a) * 1.5, 100 + r * np.sin(a)) for r, a in zip(reach_P, angle_P, strict=True)])
    filled = []
    for ring in rings:
        picture = Image.new("1", SIZE)
        ImageDraw.Draw(picture).polygon(ring, fill=1)
        filled.append(np.asarray(picture))
    one, other = (
        Marked(SIZE, outlines=(Outline(label="o", points=tuple((float(x), float(y)) for x, y in ring)),))
        for ring in rings
    )
    shared, either = (filled[0] & filled[1]).sum(), (filled[0] | filled[1]).sum()
    dice, iou = overlap_regions(one, other)
    assert dice == pytest.approx(2 * shared / (filled[0].sum() + filled[1].sum()), abs=0.01)
    assert iou == pytest.approx(shared / either, abs=0.01)
    assert overlap_regions(one, None) == (0.0, 0.0) and overlap_regions(one, one) == (1.0, 1.0)


def test_an_outline_of_several_parts_is_read_apart() -> None:
    angle_P = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rings = [tuple((float(x0 + 30 * np.cos(a)), float(100 + 40 * np.sin(a))) for a in angle_P) for x0 in (60.0, 220.0)]
    text = tell_places((), [Outline(label="kidney", points=ring) for ring in rings], SIZE, False)
    (run,) = read_told(text)
    parts = outlines_of(run, SIZE)
    assert [len(part.points) for part in parts] == [12, 12]
    assert np.mean(parts[0].points, axis=0)[0] < 100 < np.mean(parts[1].points, axis=0)[0]


def test_true_and_told_places_are_drawn_where_they_lie(tmp_path: Path) -> None:
    picture = Image.new("RGB", (160, 100))
    true, told = Box(label="", xyxy=(20, 20, 120, 120)), Box(label="", xyxy=(200, 60, 300, 160))
    draw_places(picture, 0.5, ([true], ()), ([told], ()))
    colours = {picture.getpixel((10, 30)), picture.getpixel((100, 50))}
    assert colours == {tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in (TRUE, TOLD)}
