"""One training shared by two processes (gloo on a CPU): the losses of one process, one writer, resumed when cut off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import yaml

from residency.data.batches import ImageBatches, ProcessShare
from residency.errors import UserError
from residency.folder import holding
from tests.curves import PATIENCE, read_curve, wait_for_step
from tests.discs import build_bench, disc_samples
from tests.run_command import call_residency, run_residency

LAUNCHED = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "residency"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images to train on, three a batch: the last batch of an epoch leaves the second process none.

    Dropout is off, for two processes cannot draw one's masks; augmentation is on, for its draws follow the image.
    """
    folder = build_bench(tmp_path_factory.mktemp("bench"), images=12)
    config = json.loads((folder / "model" / "config.json").read_text())
    config["text_config"]["dropout"] = 0.0
    (folder / "model" / "config.json").write_text(json.dumps(config))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["tune"] = {"lora": {"rank": 4, "dropout": 0.0}, "train": ["projector"]}
    recipe["train"] |= {"batch_size": 6, "accumulate": 2, "learning_rate": 1e-4, "augment": "ultrasound"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def alone(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("alone")
    assert call_residency("train", bench / "recipe.yaml", f"out={out}") == 0
    return out / "discs"


def launch(*arguments: object, launcher: Sequence[str] = LAUNCHED) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*launcher, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True)


def answers(run: Path, mode: str = "own") -> list[tuple[str, str]]:
    lines = (run / "predictions" / f"test.{mode}.jsonl").read_text().splitlines()
    return [(line["id"], line["prediction"]) for line in map(json.loads, lines)]


def same(run: Path, other: Path) -> None:
    """Compare what was logged within 1e-4, and what was answered exactly."""
    for key in ("loss", "grad_norm", "val_loss", "val_score"):
        assert read_curve(run, key) == pytest.approx(read_curve(other, key), abs=1e-4, rel=1e-5), key
    for mode in ("own", "base", "blind", "shuffled", "mute", "probe", "knn"):
        assert answers(run, mode) == answers(other, mode), mode


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_two_processes_train_as_one_does(bench: Path, alone: Path, tmp_path: Path) -> None:
    done = launch("train", bench / "recipe.yaml", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    same(tmp_path / "discs", alone)
    for told in ("preflight labels: ok", "epoch 4: validation loss", "next: residency evaluate"):
        assert (done.stdout + done.stderr).count(told) == 1, told
    own_states = {name for name in files_of(tmp_path / "discs") if "rng_state_" in name}
    one_state = {name for name in files_of(alone) if "rng_state" in name}
    assert files_of(tmp_path / "discs") - own_states == files_of(alone) - one_state


@pytest.mark.slow
def test_accelerate_launch_is_a_launcher_too(bench: Path, alone: Path, tmp_path: Path) -> None:
    options = ["--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    options += ["--dynamo_backend", "no", "--main_process_port", "0", "-m", "residency"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    done = launch("train", bench / "recipe.yaml", f"out={tmp_path}", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("next: residency evaluate") == 1
    same(tmp_path / "discs", alone)


@pytest.mark.slow
@pytest.mark.parametrize("struck", [0, 1])
def test_a_killed_process_ends_both_and_the_same_command_goes_on(
    bench: Path, alone: Path, tmp_path: Path, struck: int
) -> None:
    arguments = [*LAUNCHED, "train", str(bench / "recipe.yaml"), f"out={tmp_path}"]
    launcher = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "discs", 4, launcher)
    workers = {child.environ()["RANK"]: child for child in psutil.Process(launcher.pid).children()}
    workers[str(struck)].send_signal(signal.SIGKILL)
    _, told = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 1, told
    assert not (tmp_path / "discs" / "adapter").exists()
    done = launch("train", bench / "recipe.yaml", f"out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "goes on from checkpoint-" in done.stderr
    same(tmp_path / "discs", alone)


@pytest.mark.slow
def test_an_interrupt_ends_both_with_a_checkpoint(bench: Path, alone: Path, tmp_path: Path) -> None:
    arguments = [*LAUNCHED, "train", str(bench / "recipe.yaml"), f"out={tmp_path}"]
    launcher = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "discs", 4, launcher)
    launcher.send_signal(signal.SIGINT)
    _, told = launcher.communicate(timeout=PATIENCE)
    assert told.count("stopped; what is written stays, and the same command goes on") == 1, told
    last = max(read_curve(tmp_path / "discs", "loss"))
    assert (tmp_path / "discs" / "checkpoints" / f"checkpoint-{last}" / "trainer_state.json").is_file()
    done = launch("train", bench / "recipe.yaml", f"out={tmp_path}")
    assert f"goes on from checkpoint-{last}" in done.stderr
    same(tmp_path / "discs", alone)


def refused(*arguments: object) -> str:
    done = run_residency(*arguments)
    assert done.code in (1, 2)
    return done.err


def test_sharding_is_refused_in_words(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    told = refused("train", bench / "recipe.yaml", f"out={tmp_path}")
    assert "held whole by every process" in told
    assert "ACCELERATE_USE_FSDP=true" in told
    assert not (tmp_path / "discs").exists()


@pytest.mark.parametrize("key", ["contrastive", "self_training"])
def test_what_one_process_alone_can_do_is_refused_to_two(
    key: str, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    told = refused("train", bench / "recipe.yaml", f"out={tmp_path}", f"train.{key}={{}}")
    assert "2 processes cannot share this training" in told
    assert f"train.{key}" in told
    assert not (tmp_path / "discs").exists()
    told = refused("audit", bench / "data")
    assert "residency audit works in one process" in told


def test_shares_of_a_batch_are_the_batch(tmp_path: Path) -> None:
    samples = disc_samples(tmp_path, 7)
    batches = ImageBatches(samples, batch_size=6, questions_per_image=2, balance="none", seed=3)
    shares = [list(ProcessShare(batches, rank, 2)) for rank in (0, 1)]
    for whole, *parts in zip(batches, *shares, strict=True):
        assert sorted(whole) == sorted(draw for part in parts for draw in part)
        images = [{samples[draw.row].image for draw in part} for part in parts]
        assert not images[0] & images[1]
    assert shares[1][-1] == []


HOLD = """
import sys
from pathlib import Path
from residency.folder import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_commands_on_one_run_folder(bench: Path, tmp_path: Path) -> None:
    run = tmp_path / "discs"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline() == b"held\n"
    told = refused("train", bench / "recipe.yaml", f"out={tmp_path}")
    for words in (f"another command is at work on {run}", "found:", "do:", "name="):
        assert words in told
    other.communicate(b"")
    assert not run.exists()  # nothing was done, so nothing is left
    with holding(run):
        (run / "config.yaml").write_text("")
    with holding(run):
        with holding(run):  # one command may hold what it holds
            assert (run / ".lock").exists()
        assert (run / ".lock").exists()
    assert files_of(run) == {"config.yaml"}


def test_a_folder_that_cannot_be_held_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((UserError, OSError)), holding(tmp_path / "file" / "run"):
        pass
