"""Archives answered on a local two-node Ray cluster: as in one process, whatever is killed meanwhile."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from residency.data.dataset import Dataset, write_dataset
from tests.discs import QUESTIONNAIRE, build_bench, disc_samples
from tests.run_command import call_residency, run_residency

ray = pytest.importorskip("ray")
STORE_BYTES = 80 * 2**20
PATIENCE = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, beside it `archive`: 60 images that it was not trained on, answered image by image."""
    folder = build_bench(tmp_path_factory.mktemp("ray"), images=12)
    samples = disc_samples(folder / "archived", 60)
    write_dataset(Dataset(folder / "archive", samples, QUESTIONNAIRE, None))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"predict": {"batch_images": 1}, "out": str(folder)}
    recipe["train"] |= {"epochs": 1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert call_residency("train", folder / "recipe.yaml") == 0
    assert (
        call_residency(
            "predict", folder / "discs", "--data", folder / "archive", "--as", "own", "--out", folder / "local"
        )
        == 0
    )
    return folder / "discs"


def start_cluster() -> Any:
    """Start both nodes; Ray gives a node 30 seconds, which a machine busy with other work may not grant at once."""
    from ray.cluster_utils import Cluster

    for tries in range(3):
        made = Cluster()
        try:
            made.add_node(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
            made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            return made
        except Exception as error:
            made.shutdown()
            if tries == 2 or "timed out during startup" not in str(error):
                raise
    raise AssertionError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each on this machine; nothing is reported, no dashboard runs, nothing is left behind."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = start_cluster()
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    ray.shutdown()
    made.shutdown()


def answers(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return what was said to each of the 120 samples, and the candidates' likelihoods to three decimals."""
    lines = [json.loads(line) for line in (folder / "test.own.jsonl").read_text().splitlines()]
    assert len(lines) == 120
    return {
        line["id"]: (line["prediction"], [f"{name}: {score:.3f}" for name, score in line["candidates"].items()])
        for line in lines
    }


def ask_ray(run: Path, out: Path) -> None:
    assert (
        call_residency("predict", run, "--data", run.parent / "archive", "--as", "own", "--out", out, "--engine", "ray")
        == 0
    )


def workers() -> list[psutil.Process]:
    """Return the processes that hold a model; Ray names a process by what it does."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_worker_on_this_machine_answers_as_one_process_does(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = ("predict", run, "--data", run.parent / "archive", "--as", "own", "--out", tmp_path)
    assert call_residency(*asked, "--engine", "ray", "--workers", "1") == 0
    assert answers(tmp_path) == answers(run.parent / "local")
    assert not workers()  # the cluster went with the command


def test_without_ray_the_install_line_is_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run_residency("predict", run, "--as", "own", "--out", tmp_path / "out", "--engine", "ray")
    assert done.code == 2
    assert "pip install 'residency[ray]'" in done.err
    assert not (tmp_path / "out").exists()


def ask_meanwhile(run: Path, out: Path, strike: Callable[[list[psutil.Process]], bool]) -> None:
    """Ask the archive; as soon as the first answer is there, strike (given the workers) until something was hit."""
    part, struck = out / "test.own.jsonl.part", list[bool]()

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not struck:
            found = workers()
            if part.is_file() and part.stat().st_size and strike(found):
                struck.append(part.is_file())
            time.sleep(0.005)

    striker = threading.Thread(target=wait, daemon=True)
    striker.start()
    ask_ray(run, out)
    assert struck == [True]  # there was something left to answer


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(run: Path, cluster: Any, tmp_path: Path) -> None:
    killed = list[int]()

    def kill(found: list[psutil.Process]) -> bool:
        for process in found[:1]:
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)
        return bool(killed)

    ask_meanwhile(run, tmp_path, kill)
    assert killed[0] not in [process.pid for process in workers()]
    assert answers(tmp_path) == answers(run.parent / "local")


@pytest.mark.slow
def test_a_lost_node_loses_nothing(run: Path, cluster: Any, tmp_path: Path) -> None:
    def lose(_: list[psutil.Process]) -> bool:
        for node in list(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)
        return True

    ask_meanwhile(run, tmp_path, lose)
    assert answers(tmp_path) == answers(run.parent / "local")
