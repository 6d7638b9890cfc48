"""Options in, the installed command `residency serve` running in a process of its own out, with a client for it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, draw_image

STARTS_WITHIN = 600


@dataclass
class Server:
    """A running server: where, its store, its process and the file with all that it told."""

    address: str
    store: Path
    process: "subprocess.Popen[bytes]"
    told: Path
    client: httpx.Client

    def logs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.read_text().splitlines() if line.startswith("{")]

    def interpret(self, path: Path, **fields: str) -> dict[str, Any]:
        answer = self.client.post("/v1/interpret", files={"file": (path.name, path.read_bytes())}, data=fields)
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = answer.json()
        return read

    def review(self, case: str, **values: Any) -> httpx.Response:
        return self.client.post("/v1/reviews", json={"case": case, **values})


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[Server]:
    """Run `residency serve --model nano` on a free port; it is stopped as a service manager stops it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["serve", "--model", "nano", "--store", str(folder / "store"), *map(str, options)]
    with running(folder, command, folder / "store") as server:
        yield server


@contextmanager
def running(folder: Path, arguments: list[str], store: Path) -> Iterator[Server]:
    """Run a `residency serve` command in a folder, on a free port."""
    told = folder / f"told-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "residency", *arguments, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with told.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)
    try:
        address = _await_address(process, told).replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=address, timeout=60, trust_env=False, verify=False) as client:
            yield Server(address, store, process, told, client)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()


def _await_address(process: "subprocess.Popen[bytes]", told: Path) -> str:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        text = told.read_text()
        found = re.search(r"open (https?://\S+?)/ ", text)
        if found and '"event": "start"' in text:
            return found[1]
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(told.read_text())


def draw_study(path: Path, number: int = 0, form: str = "PNG") -> Path:
    """Write a simulated picture."""
    drawing = draw_image(CATEGORIES[number % len(CATEGORIES)], [711, number], HELD_OUT_SITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing.image).save(path, form)
    return path
