"""Training through the installed command: killed and resumed, interrupted, refused, and frozen as planned."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from residency.data.dataset import load_dataset, write_dataset
from residency.evaluate.examine import evaluate_run
from residency.exam import examine_fold
from residency.files import write_lines
from residency.folder import run_folders
from residency.recipe import load_recipe
from residency.report.page import write_report
from residency.types import Sample, Splits
from tests.curves import PATIENCE, read_curve, wait_for_step
from tests.discs import build_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a dataset of discs in 24 groups, and a recipe."""
    return build_bench(tmp_path_factory.mktemp("bench"))


def command(bench: Path, out: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "residency", "train", str(bench / "recipe.yaml"), f"out={out}", *overrides]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def unbroken(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    subprocess.run(command(bench, out), check=True, env=environment(), capture_output=True, text=True)
    return out / "discs"


def test_a_run_killed_three_times_ends_with_the_same_losses(bench: Path, unbroken: Path, tmp_path: Path) -> None:
    total = max(read_curve(unbroken, "loss"))
    for step in sorted(np.random.default_rng(time.time_ns()).choice(np.arange(2, total - 2), 3, replace=False)):
        process = subprocess.Popen(command(bench, tmp_path), env=environment(), stderr=subprocess.PIPE, text=True)
        wait_for_step(tmp_path / "discs", int(step), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(bench, tmp_path), check=True, env=environment(), capture_output=True)
    assert read_curve(tmp_path / "discs", "loss") == read_curve(unbroken, "loss")
    assert read_curve(tmp_path / "discs", "val_loss") == read_curve(unbroken, "val_loss")
    answers = [(run / "predictions" / "test.own.jsonl").read_text() for run in (tmp_path / "discs", unbroken)]
    parsed = [[json.loads(line)["prediction"] for line in text.splitlines()] for text in answers]
    assert parsed[0] == parsed[1]


def test_interrupt_keeps_a_checkpoint_and_the_same_command_goes_on(bench: Path, unbroken: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(bench, tmp_path), env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "discs", 4, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "stopped; what is written stays, and the same command goes on" in told
    assert not (tmp_path / "discs" / "adapter").exists()
    subprocess.run(command(bench, tmp_path), check=True, env=environment(), capture_output=True)
    assert read_curve(tmp_path / "discs", "loss") == read_curve(unbroken, "loss")
    assert read_curve(tmp_path / "discs", "val_loss") == read_curve(unbroken, "val_loss")


def test_a_run_leaves_every_file_of_the_flow(unbroken: Path) -> None:
    preflight = json.loads((unbroken / "preflight.json").read_text())
    assert {check["name"] for check in preflight["checks"]} == {
        "labels",
        "trainable",
        "reach",
        "overfit",
        "moved",
        "prompt-leak",
    }
    assert all(check["passed"] for check in preflight["checks"])
    for mode in ("own", "base", "blind", "shuffled", "mute", "probe", "knn"):
        lines = (unbroken / "predictions" / f"test.{mode}.jsonl").read_text().splitlines()
        assert len(lines) == 12, mode
    assert (unbroken / "adapter" / "adapter_model.safetensors").is_file()
    assert (unbroken / "adapter" / "tokenizer.json").is_file()


def test_a_second_recipe_under_the_same_name_is_refused(bench: Path, unbroken: Path) -> None:
    done = subprocess.run(
        command(bench, unbroken.parent, "train.epochs=5"), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "another recipe" in done.stderr


def test_a_prompt_that_tells_the_answer_is_stopped_and_named(bench: Path, tmp_path: Path) -> None:
    """The category is the disc's size: a prompt that names it answers the second question without the image."""
    arguments = command(bench, tmp_path, "prompt={prefix} It is {category}.", "name=leaky")
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "prompt-leak" in done.stderr
    assert "size" in done.stderr
    assert not (tmp_path / "leaky" / "adapter").exists()


def test_the_dataset_is_not_touched(bench: Path, unbroken: Path) -> None:
    assert {path.name for path in (bench / "data").iterdir()} == {
        "samples.jsonl",
        "questionnaire.yaml",
        "splits.json",
    }
    assert len(load_dataset(bench / "data").samples) == 48


def test_without_validation_groups_the_last_weights_are_kept(bench: Path, tmp_path: Path) -> None:
    dataset = load_dataset(bench / "data")
    (fold,) = dataset.require_splits().folds
    few = fold.model_copy(update={"train": fold.train[:4], "val": ()})
    write_dataset(replace(dataset, folder=tmp_path / "data", splits=Splits(seed=0, method="4 of 24", folds=(few,))))
    write_lines(tmp_path / "data" / "samples.jsonl", [at_home(sample, bench / "data") for sample in dataset.samples])
    recipe = load_recipe(bench / "recipe.yaml", [f"data={tmp_path / 'data'}", f"out={tmp_path}", "train.epochs=2"])
    (place,) = run_folders(recipe)
    said: list[str] = []
    examined = examine_fold(recipe, place[1], place[0], say=said.append)
    assert examined.trained is not None
    assert (examined.trained.steps, examined.trained.best_step, examined.trained.stopped) == (4, None, "done")
    assert any("no validation groups" in line for line in said)
    assert (place[1] / "adapter" / "adapter_model.safetensors").is_file()
    examination = evaluate_run(place[1])
    assert [warned.kind for warned in examination.warnings].count("no-validation") == 1
    assert "No patients were set aside to validate by" in write_report(place[1]).read_text(encoding="utf-8")


def at_home(sample: Sample, folder: Path) -> Sample:
    return sample.model_copy(update={"image": str((folder / sample.image).resolve())})
