"""The benchmark of speed: what it compares learns the same from the same, and its table can be made."""

import argparse
from pathlib import Path
from types import ModuleType

import pytest
import torch

from residency.losses import caption_loss
from tests.benchmarks import import_benchmark


@pytest.fixture(scope="module")
def speed_work() -> ModuleType:
    return import_benchmark("speed_work")


def call(folder: Path, model: str, task: str, who: str) -> argparse.Namespace:
    return argparse.Namespace(model=model, task=task, who=who, folder=folder, threads=1, repeats=2)


def test_the_tutorials_loop_and_ours_learn_the_same(speed_work: ModuleType, tmp_path: Path) -> None:
    ours, theirs = (
        speed_work.measure(call(tmp_path, "tiny-florence", "train", who))["losses"] for who in ("ours", "tutorial")
    )
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert len(set(ours)) == 3


def test_the_loss_is_the_mean_over_the_answers_tokens(speed_work: ModuleType, tmp_path: Path) -> None:
    """transformers' Trainer leaves each row's first label out of the count for decoders, unless it is told."""
    told = speed_work.measure(call(tmp_path, "tiny-llava", "train", "ours"))
    opened = speed_work.open_still(str(tmp_path / "models" / "tiny-llava"))
    first = speed_work.in_order(speed_work.make_samples(tmp_path / "images", 3))[0]
    batch = opened.family.encode(opened.loaded, first, with_answers=True)
    with torch.no_grad():
        seen = opened.family.see(opened.loaded, batch.pixels_MCHW)
        loss = caption_loss(opened.family.forward(opened.loaded, batch, seen).logits_BTV, batch.labels_BT).mean()
    assert told["losses"][0] == pytest.approx(float(loss), abs=1e-4)


def test_eight_questions_are_answered_as_by_a_loop_over_generate(speed_work: ModuleType, tmp_path: Path) -> None:
    ours, theirs = (
        speed_work.measure(call(tmp_path, "tiny-florence", "answer", who)) for who in ("ours", "transformers")
    )
    assert ours["answers"] == theirs["answers"]
    assert len(ours["answers"]) == 8
    assert min(ours["seconds"]) < min(theirs["seconds"])


@pytest.mark.slow
def test_a_quick_run_prints_its_tables(
    speed_work: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl", reason="pip install 'residency[bench]'")
    import speed  # type: ignore[import-not-found]

    speed.main(["--quick", "--threads", "1", "--folder", str(tmp_path)])
    told = capsys.readouterr().out
    assert "| tiny-llava | TRL's SFTTrainer |" in told
    assert "| tiny-florence | the Florence-2 tutorial's loop |" in told
    apart = [line for line in told.splitlines() if "differ by at most" in line]
    assert len(apart) == 2
    assert all(float(line.split("at most ")[1].split()[0]) < 1e-4 for line in apart)
