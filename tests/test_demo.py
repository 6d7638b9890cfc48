"""The demo, quick: simulated studies to report with the embedded model, offline, within the memory that is promised."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from residency.demo import run_demo
from residency.errors import UserError
from tests.documents import ROOT

WEIGHTS = ROOT / "src" / "residency" / "models" / "nano" / "weights" / "model.safetensors"
GIGABYTE = 2**20  # in the kilobytes of getrusage
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the embedded weights are not in this tree")
def test_the_demo_ends_with_a_report_and_says_what_it_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "residency", "demo", "--quick", "--json", "--out", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | OFFLINE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    page = (tmp_path / told["report"]).read_text(encoding="utf-8")
    assert "not for diagnosis" in page.lower()
    assert "it beats majority on" in told["finding"]
    assert "base on" in told["finding"]
    assert "FAILED" not in done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 * GIGABYTE
    again = subprocess.run(command, cwd=tmp_path, env=os.environ | OFFLINE, capture_output=True, text=True)
    assert again.returncode == 0
    assert "trained already" in again.stderr
    assert json.loads(again.stdout)["finding"] == told["finding"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        run_demo(tmp_path, quick=True, say=print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
