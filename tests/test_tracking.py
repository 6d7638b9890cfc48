"""Curves for TensorBoard, MLflow and W&B: the installed command writes them, each reader reads them back."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from residency import tracking
from tests.curves import read_metrics
from tests.discs import build_bench
from tests.run_command import call_residency, run_residency

Train = Callable[..., Path]
Curves = dict[str, dict[int, float]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bench(tmp_path_factory.mktemp("track"), images=12)


@pytest.fixture
def train(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train through the command line with no way out of the machine; return the run's folder."""
    connect = socket.socket.connect

    def stay(this: socket.socket, address: Any) -> None:
        assert this.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), address
        connect(this, address)

    monkeypatch.setattr(socket.socket, "connect", stay)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)

    def run(*overrides: str) -> Path:
        named = ["train.epochs=2", "train.batch_size=8", f"out={tmp_path}", *overrides]
        assert call_residency("train", bench / "recipe.yaml", *named) == 0
        return tmp_path / "discs"

    return run


def logged(run: Path) -> Curves:
    """Return what metrics.jsonl holds, by name and step."""
    curves: Curves = {}
    for entry in read_metrics(run):
        for name, value in entry.items():
            curves.setdefault(name, {})[int(entry["step"])] = value
    return {name: points for name, points in curves.items() if name != "step"}


def close_to(read: Curves, run: Path) -> bool:
    expected = logged(run)
    return read.keys() == expected.keys() and all(
        read[name] == pytest.approx(points, rel=1e-5, abs=1e-8) for name, points in expected.items()
    )


def read_events(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: {point.step: point.value for point in events.Scalars(name)} for name in events.Tags()["scalars"]}


def test_nothing_is_tracked_unless_asked_for(train: Train) -> None:
    run = train("train.epochs=1")
    assert not [name for name in ("tensorboard", "mlflow", "mlflow.db", "wandb") if (run / name).exists()]
    assert not {"mlflow", "wandb"} & set(sys.modules)


def test_tensorboard_holds_what_metrics_hold(train: Train) -> None:
    run = train("track=[tensorboard]")
    read = read_events(run / "tensorboard")
    assert {"loss", "val_loss", "val_score", "learning_rate"} <= read.keys()
    assert close_to(read, run)


def test_points_of_a_run_cut_off_are_taken_back(tmp_path: Path) -> None:
    from residency.config import Recipe

    recipe = Recipe(name="x", data=tmp_path)
    for first, last in ((1, 5), (3, 6)):  # cut off after 4, gone on from a checkpoint at 2
        board = tracking.TensorBoard(recipe, tmp_path, first)
        for step in range(first, last):
            board.write({"loss": first + step / 10}, step)
        board.close()
    assert read_events(tmp_path / "tensorboard")["loss"] == pytest.approx({1: 1.1, 2: 1.2, 3: 3.3, 4: 3.4, 5: 3.5})


def test_mlflow_holds_what_metrics_hold(train: Train) -> None:
    pytest.importorskip("mlflow", reason="pip install 'residency[mlflow]'")
    run = train("track=[mlflow]")
    from mlflow.tracking import MlflowClient

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("discs")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("discs", "FINISHED")
    names = found.data.metrics.keys()
    read = {
        name: {point.step: point.value for point in client.get_metric_history(found.info.run_id, name)}
        for name in names
    }
    assert close_to(read, run)
    assert (run / "mlflow" / found.info.run_id / "artifacts" / "recipe.yaml").is_file()


def test_wandb_stays_on_the_machine(train: Train) -> None:
    pytest.importorskip("wandb", reason="pip install 'residency[wandb]'")
    run = train("track=[wandb]")
    from wandb.proto.wandb_internal_pb2 import Record

    (folder,) = (run / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    read: Curves = {}
    for data in read_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                read.setdefault(name, {})[int(items["_step"])] = value
    assert close_to(read, run)


def read_records(content: bytes, block: int = 32768) -> Iterator[bytes]:
    """Yield the records of a .wandb file: a head of 7 bytes, then LevelDB's log (crc, length, kind; cut at blocks)."""
    place, whole = 7, b""
    while place < len(content):
        if (left := block - place % block) < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_a_tracker_that_is_missing_is_named_with_its_install_line(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.NEEDS, "wandb", ("wandb_is_not_here",))  # type: ignore[arg-type]
    for tracked, words in (("wandb", "pip install 'residency[wandb]'"), ("tensorbord", "track.0")):
        done = run_residency("train", bench / "recipe.yaml", f"track=[{tracked}]", f"out={tmp_path}")
        assert done.code == 2
        assert words in done.err
    assert not (tmp_path / "discs").exists()
