"""`residency sweep` on real files: combinations compared on validation alone, gone on with, nothing trained twice."""

import json
from pathlib import Path

import pytest
import yaml

from residency.data.dataset import load_dataset
from residency.errors import UserError
from residency.recipe import load_recipe
from residency.sweep import name_combination, read_grid, run_sweep
from tests.discs import build_bench
from tests.run_command import call_residency


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench whose test images are gone from the disk: who reads one fails."""
    folder = build_bench(tmp_path_factory.mktemp("sweep"), images=12)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    recipe |= {"tune": {"lora": None, "train": ["projector"]}}
    recipe["train"] |= {"epochs": 1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    dataset = load_dataset(folder / "data")
    for sample in dataset.split("test"):
        Path(sample.image).unlink(missing_ok=True)
    return folder


def test_combinations_are_compared_on_validation_and_the_best_is_named(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = bench / "recipe.yaml"
    assert call_residency("train", recipe) == 1  # it would examine the test split, whose images are gone
    asked = ("sweep", recipe, "lr=1e-5,3e-3", "train.questions_per_image=1,2")
    assert call_residency(*asked) == 0
    told = capsys.readouterr()
    found = json.loads((bench / "runs" / "discs-sweep" / "sweep.json").read_text())
    scores = [one["score"] for one in found["combinations"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert all(set(one["by_question"]) == {"side", "size"} for one in found["combinations"])
    assert all(one["score"] == pytest.approx(sum(one["by_question"].values()) / 2) for one in found["combinations"])
    assert (found["validation_samples"], found["validation_groups"], found["left"]) == (4, 2, 0)
    best = load_recipe(bench / "runs" / "discs-sweep" / "best.yaml")
    assert best.name == "discs-best"
    assert best.train.learning_rate == float(found["combinations"][0]["settings"]["train.learning_rate"])
    assert "4 of 4: train.learning_rate=3e-3 train.questions_per_image=2" in told.err
    assert "only the test split tells" in told.out
    assert not list((bench / "runs").rglob("predictions"))

    written = {path: path.stat().st_mtime_ns for path in (bench / "runs").rglob("adapter/*")}
    assert call_residency(*asked, "--json") == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["combinations"] == found["combinations"]
    assert again.err.count("trained already") == 4
    assert {path: path.stat().st_mtime_ns for path in (bench / "runs").rglob("adapter/*")} == written


def test_one_that_cannot_be_trained_stands_in_the_table_and_the_others_go_on(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("sweep", bench / "recipe.yaml", "name=parts", "tune.train=[projektor],[projector]")
    assert call_residency(*asked) == 0
    told = capsys.readouterr()
    best, failed = json.loads((bench / "runs" / "parts-sweep" / "sweep.json").read_text())["combinations"]
    assert best["settings"] == {"tune.train": ["projector"]}
    assert failed["score"] is None
    assert "projektor matches no module" in failed["error"]
    assert "not trained" in told.out
    assert call_residency("sweep", bench / "recipe.yaml", "name=none", "tune.train=[projektor],[tower]") == 1
    told = capsys.readouterr()
    assert "projektor matches no module" in told.err
    assert "tower matches no module" in told.err


def test_a_training_that_was_cut_off_is_gone_on_with(bench: Path) -> None:
    settings = ["name=cut", "train.seed=1,2"]

    def stop_second(line: str) -> None:
        if line.startswith("2 of 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(bench / "recipe.yaml", settings, stop_second)
    half = json.loads((bench / "runs" / "cut-sweep" / "sweep.json").read_text())
    assert (half["left"], half["best"], len(half["combinations"])) == (1, None, 1)
    told: list[str] = []
    whole = run_sweep(bench / "recipe.yaml", settings, told.append)
    assert told.count("  trained already") == 1
    assert (whole.left, len(whole.combinations)) == (0, 2)


def test_wrong_calls_are_told_together(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_residency("sweep", bench / "recipe.yaml", "lr", "fold=0,1", "rank=8,16", "tune.lora.rank=4") == 2
    told = capsys.readouterr().err
    for words in ("`lr` is not key=value", "`fold` cannot vary", "`tune.lora.rank` is named twice"):
        assert words in told
    assert call_residency("sweep", bench / "recipe.yaml", "lr=1e-4") == 2
    assert "nothing to compare" in capsys.readouterr().err
    assert call_residency("sweep", bench / "recipe.yaml", "train.epoch=1,2") == 2
    assert "nearest: train.epochs" in capsys.readouterr().err
    assert call_residency("sweep", bench / "recipe.yaml", "lr=1e-4,0.0001") == 2
    assert "the same recipe" in capsys.readouterr().err
    assert call_residency("sweep", bench / "recipe.yaml", "fold=all", "lr=1e-4,3e-4") == 2
    assert "within one fold" in capsys.readouterr().err


def test_settings_become_folders_of_their_own() -> None:
    assert read_grid(["lr=1e-4,3e-4", "tune.lora=null,{rank: 4}"]) == {
        "train.learning_rate": ["1e-4", "3e-4"],
        "tune.lora": [None, {"rank": 4}],
    }
    names = [name_combination({"prompt": text}) for text in ("{prefix} a", "{prefix} b", "{prefix}/a")]
    assert len(set(names)) == 3
    assert name_combination({"train.learning_rate": "1e-4", "tune.lora.rank": 8}) == "lr-1e-4_rank-8"
    with pytest.raises(UserError):
        read_grid(["prompt={prefix}: a, b}"])
