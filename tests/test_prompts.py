"""`residency prompts` on real files: wordings and examples compared on validation alone, gone on with, then used."""

import json
from pathlib import Path

import pytest
import yaml

from residency.asking import Shots
from residency.data.dataset import load_dataset
from residency.data.shots import show_shots
from tests.contract.tiny_chat import build_tiny_smolvlm
from tests.discs import build_bench
from tests.run_command import call_residency, run_residency

CHOICES = {"systems": ["You see discs."], "prompts": ["{prefix}", "Question: {prefix}"], "shots": [0, 2], "seeds": [1]}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_bench(tmp_path_factory.mktemp("prompts"), images=12)
    (folder / "choices.yaml").write_text(yaml.safe_dump(CHOICES))
    build_tiny_smolvlm(folder / "smol")
    return folder


def test_a_search_reads_no_test_item_and_goes_on_where_it_stopped(bench: Path) -> None:
    hidden = bench / "hidden"
    hidden.mkdir()
    data = load_dataset(bench / "data")
    moved = [Path(image) for image in {sample.image for sample in data.split("test")}]
    for image in moved:
        image.rename(hidden / image.name)
    out = bench / "found"
    long = CHOICES | {"prompts": [*CHOICES["prompts"], "very " * 600 + "{prefix}"], "shots": [0, 2]}  # type: ignore[misc]
    (bench / "long.yaml").write_text(yaml.safe_dump(long))
    asked = ("prompts", bench / "model", "--data", bench / "data", "--choices", bench / "long.yaml", "--out", out)
    done = run_residency(*asked)
    for image in moved:
        (hidden / image.name).rename(image)
    assert done.code == 0, done.err
    search = json.loads((out / "prompts.json").read_text())
    assert len(search["tried"]) == 6 and search["left"] == 0
    scores = [one["figure"]["value"] for one in search["tried"] if not one["error"]]
    assert len(scores) == 4 and all("tokens long" in one["error"] for one in search["tried"][4:])
    assert "cannot be asked" in done.out
    assert scores == sorted(scores, reverse=True)
    assert [best["shots"] for best in search["best"]] == [None, 0, 2]
    groups = {group for name in ("train", "val") for group in getattr(data.require_fold(0), name)}
    made = [json.loads(line) for path in (out / "val").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert {sample.id for sample in data.samples if sample.group in groups} > {one["id"] for one in made}
    assert len({one["prompt_sha256"] for one in made}) > 4
    assert "prompt:" in done.out and "only the test split tells" in done.out
    files = sorted((out / "val").glob("*.jsonl"))
    files[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in files[1:]}
    again = run_residency(*asked, "--json")
    assert json.loads(again.out)["best"] == search["best"]
    assert {path: path.stat().st_mtime_ns for path in files[1:]} == times and files[0].is_file()


def test_two_models_are_compared_each_in_its_own_words(bench: Path) -> None:
    for name in ("model", "smol"):
        asked = ("prompts", bench / name, "--data", bench / "data", "--choices", bench / "choices.yaml")
        assert call_residency(*asked, "--out", bench / "of" / name) == 0
        assert call_residency("predict", bench / name, "--prompts", bench / "of" / name, "--shots", 2) == 0
    files = [bench / "of" / name / "predictions-2" / "test.base.jsonl" for name in ("model", "smol")]
    out = bench / "versus"
    assert call_residency("compare", *files, "--data", bench / "data", "--out", out) == 0
    told = json.loads((out / "comparison.json").read_text())["contestants"]
    assert [(one["name"], one["asked"]["shots"]) for one in told] == [("model base", 2), ("smol base", 2)]
    assert "searched for each model by itself" in (out / "comparison.md").read_text()
    wrong = run_residency("predict", bench / "model", "--prompts", bench / "of" / "smol")
    assert wrong.code == 2 and "the search for another model" in wrong.err


def test_a_run_learns_and_answers_with_examples_of_other_groups(bench: Path) -> None:
    recipe = yaml.safe_load((bench / "recipe.yaml").read_text())
    recipe |= {"name": "shown", "out": str(bench / "runs"), "model": str(bench / "smol"), "system": "You see discs."}
    recipe |= {"shots": {"count": 2}, "tune": {"lora": {"rank": 2}, "train": ["projector"]}}
    recipe["train"] |= {"epochs": 1}
    (bench / "shown.yaml").write_text(yaml.safe_dump(recipe))
    assert call_residency("train", bench / "shown.yaml") == 0
    assert call_residency("evaluate", bench / "runs" / "shown") == 0
    assert call_residency("report", bench / "runs" / "shown") == 0
    page = (bench / "runs" / "shown" / "report.html").read_text()
    assert "preceded by 2 solved examples of the training split" in page and "You see discs." in page
    assert call_residency("prompts", bench / "runs" / "shown", "--choices", bench / "choices.yaml", "--limit", 2) == 0
    search = json.loads((bench / "runs" / "shown" / "prompts" / "prompts.json").read_text())
    assert (search["mode"], search["images"]) == ("own", 2)
    refused = run_residency("export", bench / "runs" / "shown")
    assert refused.code == 2 and "shows solved examples" in refused.err


def test_wrong_calls_are_told(bench: Path, tmp_path: Path) -> None:
    named = ("prompts", bench / "model", "--data", bench / "data", "--out", tmp_path / "out")
    (tmp_path / "bad.yaml").write_text("prompt: ['{prefix}']")
    told = run_residency(*named, "--choices", tmp_path / "bad.yaml")
    assert told.code == 2 and "prompt: Extra inputs are not permitted" in told.err and "orders: lists" in told.err
    assert run_residency("prompts", bench / "model").err.count("name one: --data DATASET") == 1
    (tmp_path / "runs" / "fold-1").mkdir(parents=True)
    (tmp_path / "runs" / "fold-1" / "config.yaml").touch()
    assert "fold-1" in run_residency("prompts", tmp_path / "runs").err
    (tmp_path / "lost.yaml").write_text("prompts: ['{columns[Weight]}']\nshots: [0]")
    told = run_residency(*named, "--choices", tmp_path / "lost.yaml")
    assert told.code == 1 and "no way of asking could be scored" in told.err and "has no Weight" in told.err
    assert run_residency("predict", bench / "model", "--shots", 3, "--data", bench / "data").code == 2
    recipe = yaml.safe_load((bench / "recipe.yaml").read_text()) | {"ask": "together", "shots": {"count": 1}}
    (tmp_path / "together.yaml").write_text(yaml.safe_dump(recipe))
    assert "`shots` do not go with" in run_residency("train", tmp_path / "together.yaml").err


def test_examples_are_of_the_training_split_and_never_of_ones_own_group(bench: Path) -> None:
    data = load_dataset(bench / "data")
    training = data.split("train")
    shown = show_shots(training, training, Shots(count=3))
    for sample in shown:
        assert len(sample.shots) == 3
        assert all(shot.group != sample.group and shot.question == sample.question for shot in sample.shots)
        assert len({shot.group for shot in sample.shots}) == 3
        assert len({shot.suffix for shot in sample.shots}) == 2
    back = show_shots(training[:1], training, Shots(count=3, order="reversed"))[0].shots
    assert back == shown[0].shots[::-1]
    assert show_shots(training[:1], training, Shots(count=3, seed=5))[0].shots != shown[0].shots
