"""Boxes and outlines told in words, scored through the command: planted files with known figures."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residency.config import Recipe
from residency.data.dataset import Dataset, write_dataset
from residency.data.places import tell_places
from residency.files import sha256_text, write_lines, write_text
from residency.recipe import dump_recipe
from residency.types import Box, Fold, Outline, Prediction, Question, Questionnaire, Sample, Splits
from tests.run_command import run_residency

SIZE = (400, 200)
"""A picture that is wider than high: what is squeezed to a square must come back to its own pixels."""
OD = Question(id="od", type="text", wording="<OD>")
OUTLINE = Question(id="outline", type="text", wording="Outline: LABEL.")


def plant(folder: Path, samples: Sequence[Sample], told: Sequence[Prediction], of: str = "own") -> Path:
    """Write a dataset whose samples are all of the test split, and a run that told this; return the run."""
    for sample in samples:
        (folder / "dataset" / sample.image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", SIZE).save(folder / "dataset" / sample.image)
    groups = tuple(dict.fromkeys(sample.group for sample in samples))
    splits = Splits(seed=0, method="planted", folds=(Fold(train=("nobody",), val=(), test=groups),))
    questionnaire = Questionnaire(name="places", questions=(OD, OUTLINE))
    write_dataset(Dataset(folder / "dataset", tuple(samples), questionnaire, splits))
    run = folder / "runs" / "planted"
    write_text(run / "config.yaml", dump_recipe(Recipe(name="planted", data=folder / "dataset", out=folder / "runs")))
    write_lines(run / "predictions" / f"test.{of}.jsonl", told)
    return run


def make_boxed(number: int, boxes: Sequence[Box]) -> Sample:
    text = tell_places(boxes, (), SIZE, True)
    return Sample(
        id=f"s{number}", image=f"images/{number}.png", prefix="<OD>", suffix=text, answer=text, question="od",
        group=f"g{number}", boxes=tuple(boxes),
    )  # fmt: skip


def tell(
    sample: Sample, text: str, scores: Sequence[float] = (), of: str = "own", cut: float | None = None
) -> Prediction:
    return Prediction(
        id=sample.id, model="planted", mode=of, split="test", prompt_sha256=sha256_text(sample.prefix),
        prediction=text, parsed=text or None, box_scores=tuple(scores), box_cut=cut,
    )  # fmt: skip


def score_run(run: Path) -> dict[tuple[str, str, str], float | None]:
    """Evaluate through the command; return values by answerer, label (`all`) and metric."""
    done = run_residency("evaluate", run, "--json")
    assert done.code == 0, done.err
    scores = json.loads(done.out)["scores"]
    return {(s["of"], s["subset"].removeprefix("label="), s["metric"]): s["value"] for s in scores}


def box(label: str, *xyxy: float) -> Box:
    return Box(label=label, xyxy=(xyxy[0], xyxy[1], xyxy[2], xyxy[3]))


def test_a_planted_file_has_the_precision_worked_out_by_hand(tmp_path: Path) -> None:
    one = make_boxed(1, [box("cell", 0, 0, 100, 100), box("cell", 200, 100, 300, 200)])
    two = make_boxed(2, [box("cell", 40, 40, 120, 120), box("disc", 240, 20, 320, 100)])
    hit = [tell_places([each], (), SIZE, True) for each in (*one.boxes, *two.boxes)]
    miss = tell_places([box("cell", 300, 0, 390, 60)], (), SIZE, True)
    told = [tell(one, hit[0] + miss, (-0.1, -0.2)), tell(two, hit[2] + hit[3], (-0.3, -0.1))]
    found = score_run(plant(tmp_path, [one, two], told))
    # Ranked: hit (1/1), miss (1/2), hit (2/3) of three cells. Recall 0 to 0.33: 34 of 101 steps at precision 1; to
    # 0.66: 33 steps at 2/3; beyond: 0.
    cells = (34 * 1 + 33 * 2 / 3) / 101
    assert found["own", "cell", "mAP50"] == pytest.approx(cells)
    assert found["own", "disc", "mAP50"] == pytest.approx(1)
    assert found["own", "all", "mAP50"] == pytest.approx((cells + 1) / 2)
    assert found["own", "all", "precision at IoU 0.5"] == pytest.approx(3 / 4)
    assert found["own", "all", "recall at IoU 0.5"] == pytest.approx(3 / 4)
    assert found["own", "cell", "F1 at IoU 0.5"] == pytest.approx(2 * 2 / (3 + 3))


def test_a_box_half_as_wide_counts_up_to_its_overlap(tmp_path: Path) -> None:
    one = make_boxed(1, [box("cell", 0, 0, 200, 100)])
    narrow = tell_places([box("cell", 0, 0, 134, 100)], (), SIZE, True)
    found = score_run(plant(tmp_path, [one], [tell(one, narrow)]))
    assert found["own", "all", "mAP50"] == 1
    assert found["own", "all", "mean IoU"] == pytest.approx(0.67, abs=0.005)
    assert found["own", "all", "mAP50-95"] == pytest.approx(4 / 10), "found at 0.5, 0.55, 0.6 and 0.65 alone"


def test_paligemmas_notation_says_the_same(tmp_path: Path) -> None:
    one = make_boxed(1, [box("red cell", 40, 20, 140, 90), box("disc", 240, 100, 320, 180)])
    rows = [
        "".join(f"<loc{int(v / side * 1024):04}>" for v, side in zip(
            (b.xyxy[1], b.xyxy[0], b.xyxy[3], b.xyxy[2]), (200, 400, 200, 400), strict=True)) + f" {b.label}"
        for b in one.boxes
    ]  # fmt: skip
    found = score_run(plant(tmp_path, [one], [tell(one, " ; ".join(rows), (-1, -2))]))
    assert found["own", "all", "F1 at IoU 0.5"] == 1
    assert found["own", "all", "mAP50-95"] == pytest.approx(1)


def test_what_is_no_place_is_unparsed_and_strange_labels_are_false(tmp_path: Path) -> None:
    one = make_boxed(1, [box("cell", 0, 0, 200, 100)])
    two = make_boxed(2, [box("cell", 0, 0, 200, 100)])
    text = tell_places([*two.boxes, box("ghost", 10, 10, 60, 60)], (), SIZE, True)
    run = plant(tmp_path, [one, two], [tell(one, "I see cells"), tell(two, text)])
    found = score_run(run)
    assert found["own", "all", "precision at IoU 0.5"] == pytest.approx(1 / 2)
    assert found["own", "all", "recall at IoU 0.5"] == pytest.approx(1 / 2)
    scores = json.loads((run / "scores" / "scores.json").read_text())["scores"]
    assert {s["unparsed"] for s in scores if s["of"] == "own" and s["subset"] == "all"} == {1}


def test_a_detectors_doubtful_boxes_count_for_its_curve_alone(tmp_path: Path) -> None:
    one = make_boxed(1, [box("cell", 0, 0, 200, 100), box("cell", 200, 100, 400, 200)])
    far = box("cell", 300, 0, 380, 60)
    text = "".join(tell_places([each], (), SIZE, True) for each in (*one.boxes, far))
    run = plant(tmp_path, [one], [tell(one, tell_places(one.boxes[:1], (), SIZE, True), (-0.1,))])
    told = tell(one, text, (-0.1, -2.0, -3.0), of="detector", cut=-1.0)
    write_lines(run / "predictions" / "test.detector.jsonl", [told])
    found = score_run(run)
    assert found["detector", "all", "recall at IoU 0.5"] == 0.5
    assert found["detector", "all", "precision at IoU 0.5"] == 1
    assert found["detector", "all", "mAP50"] == pytest.approx(1)
    assert found["own-detector", "all", "gain in F1 at IoU 0.5"] == 0
    shown = run_residency("evaluate", run)
    assert "detector" in shown.out and "mAP50-95" in shown.out


def make_ellipse(number: int, spacing: tuple[float, float]) -> Sample:
    angle_P = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = [(200 + 120 * np.cos(a), 100 + 70 * np.sin(a)) for a in angle_P]
    outline = Outline(label="skull", points=tuple((float(x), float(y)) for x, y in points))
    text = tell_places((), [outline], SIZE, False)
    return Sample(
        id=f"o{number}", image=f"images/o{number}.png", prefix="Outline: skull.", suffix=text, answer=text,
        question="outline", group=f"g{number}", outlines=(outline,), spacing_mm=spacing,
    )  # fmt: skip


def test_an_outline_is_scored_by_its_region_and_in_millimetres(tmp_path: Path) -> None:
    samples = [make_ellipse(1, (0.5, 0.25)), make_ellipse(2, (0.5, 0.25))]
    assert samples[0].suffix
    found = score_run(plant(tmp_path, samples, [tell(samples[0], samples[0].suffix), tell(samples[1], "nothing")]))
    assert found["own", "all", "Dice"] == pytest.approx(0.5, abs=0.03), "one is found, of one nothing is told"
    assert found["own", "all", "IoU of regions"] == pytest.approx(0.48, abs=0.03)
    assert found["own", "all", "error of the circumference in mm"] == pytest.approx(0, abs=0.7)


def test_a_longer_outline_is_wrong_by_its_millimetres(tmp_path: Path) -> None:
    sample = make_ellipse(1, (0.5, 0.25))
    angle_P = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = tuple((float(200 + 132 * np.cos(a)), float(100 + 77 * np.sin(a))) for a in angle_P)
    larger = tell_places((), [Outline(label="skull", points=points)], SIZE, False)
    found = score_run(plant(tmp_path, [sample], [tell(sample, larger)]))
    # Half axes of 30 and 35 mm (rows are twice as far apart as columns) measure 204.5 mm around (Ramanujan 1914).
    assert found["own", "all", "error of the circumference in mm"] == pytest.approx(20.45, abs=0.8)
    assert found["own", "all", "bias of the circumference in mm"] == pytest.approx(20.45, abs=0.8)
    told = 1.21 * 12 / (2 * np.pi) * np.sin(np.pi / 6)  # an outline is told by twelve of its points
    assert found["own", "all", "Dice"] == pytest.approx(2 / (1 + told), abs=0.005)
