"""Large pictures through the installed command: tiles asked by the same path as pictures, answers merged by rule."""

from math import log
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from residency.answering import Query, Said, answer_each
from residency.asking import Predict, Tiles
from residency.data.dataset import load_dataset
from residency.data.tiles import Region, cut_tiles
from residency.data.told import boxes_of, read_told
from residency.files import read_lines
from residency.models.registry import open_run
from residency.types import Option, Prediction, Question, Sample
from residency.views import View, merge_views
from tests.contract.tiny import build_tiny_nano
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.data.test_tiles import write_large
from tests.run_command import run_residency

SAMPLE = Sample(id="s", image="i", prefix="<OD>", group="g")
CLOSED = Question(id="n", type="choice", wording="?", options=(Option(name="normal"), Option(name="abnormal")))
SET = Question(id="seen", type="set", wording="?", options=(Option(name="heart"), Option(name="lungs")))


def make_view(x: int, text: str, confidence: float, parsed: object = None, whole: bool = False) -> View:
    region = Region(0, 0, 200, 100) if whole else Region(x, 0, x + 100, 100)
    fields = {"prediction": text, "confidence": confidence, "parsed": parsed or text, "parts": {}}
    return View(region, Said(SAMPLE, fields), whole)


def test_boxes_of_all_views_are_merged_into_one_answer() -> None:
    views = [
        make_view(0, "focus<loc_100><loc_400><loc_150><loc_500>", 0.5, whole=True),  # at 20 to 30, 40 to 50
        make_view(0, "focus<loc_200><loc_400><loc_300><loc_500>", 0.9),  # the same, from its tile
        # Another, and one that the tile's border cuts.
        make_view(100, "focus<loc_500><loc_100><loc_600><loc_200>focus<loc_0><loc_0><loc_100><loc_100>", 0.8),
    ]
    fields = merge_views(views, None, Tiles(), (200, 100))
    boxes = [box for run in read_told(fields["prediction"]) for box in boxes_of(run, (200, 100))]
    assert [tuple(round(value) for value in box.xyxy) for box in boxes] == [(20, 40, 30, 50), (150, 10, 160, 20)]
    assert fields["box_scores"] == (round(log(0.9), 4), round(log(0.8), 4))
    surest = merge_views(views, None, Tiles(least=0.85), (200, 100))
    assert len(read_told(surest["prediction"])) == 1


@pytest.mark.parametrize(
    ("rule", "expected"), [("whole", "normal"), ("surest", "normal"), ("any:abnormal", "abnormal"), (None, "normal")]
)
def test_closed_answers_follow_their_rule(rule: str | None, expected: str) -> None:
    views = [
        make_view(0, "normal", 0.6, whole=True), make_view(0, "abnormal", 0.7), make_view(100, "normal", 0.9)
    ]  # fmt: skip
    tiles = Tiles(rules={"n": rule} if rule else {})
    assert merge_views(views, CLOSED, tiles, (200, 100))["parsed"] == expected


def test_sets_are_joined() -> None:
    views = [
        make_view(0, "heart", 0.6, ("heart",), whole=True),
        make_view(0, "heart", 0.7, ("heart",)),
        make_view(100, "lungs", 0.9, ("lungs",)),
    ]
    assert merge_views(views, SET, Tiles(rules={"seen": "union"}), (200, 100))["parsed"] == ("heart", "lungs")
    assert merge_views(views, SET, Tiles(), (200, 100))["parsed"] == ("heart",)


def answer_by_hand(folder: Path) -> tuple[str, tuple[float, ...]]:
    """Write every tile of the test picture to a file, ask each as a picture of its own, and merge what is said."""
    opened = open_run(folder / "runs/squares")[1]
    opened.loaded.model.eval()
    sample = next(s for s in load_dataset(folder / "large").split("test") if s.question == "od")
    with Image.open(folder / "large" / sample.image) as file:
        picture = file.convert("RGB")
    questionnaire = load_dataset(folder / "large").questionnaire
    assert questionnaire is not None
    views = []
    regions = [Region(0, 0, 320, 240), *cut_tiles(320, 240, 128)]
    for number, region in enumerate(regions):
        picture.crop(region.corners).save(folder / f"{number}.png")
        asked = sample.model_copy(update={"image": str(folder / f"{number}.png")})
        with torch.inference_mode():
            query = Query(asked, questionnaire.question("od"))
            (said,) = answer_each(opened, [query], Predict(max_new_tokens=24), None)
        views.append(View(region, said, number == 0))
    fields = merge_views(views, questionnaire.question("od"), Tiles(), (320, 240))
    return fields["prediction"], tuple(fields.get("box_scores") or ())


@pytest.mark.parametrize("name", ["nano", "paligemma"])
def test_the_command_answers_large_pictures_by_tiles(name: str, tmp_path: Path) -> None:
    """What a tile is answered as a picture of its own is what its view adds; every family goes the same way."""
    find = "detect square" if name == "paligemma" else "<OD>"
    write_large(tmp_path / "large", prefix=find)
    builder = {"nano": build_tiny_nano} | CAUSAL_BUILDERS
    builder[name](tmp_path / "model")
    recipe = {
        "name": "squares", "data": str(tmp_path / "tiles"), "out": str(tmp_path / "runs"),
        "model": str(tmp_path / "model"), "questions": ["od"],
        "tune": {"lora": {"parts": ["language"]} if name == "paligemma" else None, "train": ["projector", "language"]},
        "train": {"epochs": 2, "batch_size": 4, "learning_rate": 3e-3}, "predict": {"max_new_tokens": 24},
    }  # fmt: skip
    if name == "paligemma":
        recipe["tune"] = {"lora": {"parts": ["language"]}, "train": ["projector"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run_residency("tile", tmp_path / "large", "--out", tmp_path / "tiles", "--side", 128).code == 0
    done = run_residency("train", tmp_path / "recipe.yaml")
    assert done.code == 0, done.err
    asked = ["--data", tmp_path / "large", "--as", "own"]
    plain = run_residency("predict", tmp_path / "runs/squares", *asked, "--out", tmp_path / "plain")
    assert plain.code == 0, plain.err
    keys = ["predict.tiles.side=128"]
    done = run_residency("predict", tmp_path / "runs/squares", *keys, *asked, "--out", tmp_path / "tiled")
    assert done.code == 0, done.err
    (made,) = read_lines(next((tmp_path / "tiled").rglob("test.own.jsonl")), Prediction)
    runs = read_told(made.prediction)
    assert len(made.box_scores) == len(runs)
    for run in runs:
        for box in boxes_of(run, (320, 240)):
            assert 0 <= box.xyxy[0] < box.xyxy[2] <= 320
            assert 0 <= box.xyxy[1] < box.xyxy[3] <= 240
    keys += ["predict.tiles.zoom=2", f"predict.tiles.find={find}"]
    zoomed = run_residency("predict", tmp_path / "runs/squares", *keys, *asked, "--out", tmp_path / "zoomed")
    assert zoomed.code == 0, zoomed.err
    fine = run_residency(
        "predict", tmp_path / "runs/squares", "predict.tiles.side=40", *asked, "--out", tmp_path / "fine"
    )
    assert fine.code == 0, fine.err
    (whole,), (finely,) = (read_lines(tmp_path / name / "test.own.jsonl", Prediction) for name in ("plain", "fine"))
    assert finely.seconds > whole.seconds  # a hundred views: more than a busy machine makes of one
    assert (made.prediction, made.box_scores) == answer_by_hand(tmp_path)
    unread = run_residency("predict", tmp_path / "runs/squares", "predict.tiles.rules={od: never}", *asked)
    assert unread.code == 2
    assert "predict.tiles.rules" in unread.err


def test_a_picture_no_larger_than_a_tile_is_answered_as_ever(tmp_path: Path) -> None:
    from tests.discs import build_bench

    folder = build_bench(tmp_path, images=12)
    run_residency("train", folder / "recipe.yaml", f"out={tmp_path / 'runs'}", "train.epochs=1")
    for keys in ([], ["predict.tiles.side=64"]):
        out = tmp_path / f"answers{len(keys)}"
        assert run_residency("predict", tmp_path / "runs/discs", *keys, "--as", "own", "--out", out).code == 0
    plain, tiled = (
        [(line.id, line.prediction, line.candidates) for line in read_lines(file, Prediction)]
        for file in sorted(tmp_path.glob("answers*/**/test.own.jsonl"), key=str)
    )
    assert plain == tiled
