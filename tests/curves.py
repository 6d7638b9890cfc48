"""A run's folder in, what its metrics.jsonl holds out; or a wait until it holds so much."""

import json
import subprocess
import time
from pathlib import Path

PATIENCE = 300
"""Seconds to wait for a step: seconds on a free core, minutes beside other work."""


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the lines, as they were logged."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_curve(run: Path, key: str) -> dict[int, float]:
    """Return one figure by step."""
    return {int(line["step"]): line[key] for line in read_metrics(run) if key in line}


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
    """Wait until a run that trains in another process has taken a step."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").is_file() and max(read_curve(run, "loss"), default=0) >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"no step {step}: {process.communicate()}")
