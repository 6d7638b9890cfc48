"""How the server bears load: closed-loop clients on loopback, nano, and two servers that are made worse on purpose.

    python benchmarks/serve.py            # 32 clients, 60 s each: about four minutes on an idle machine
    python benchmarks/serve.py --quick    # 8 clients, 8 s each

Each client sends a simulated picture, waits for its eight answers, and sends the next. Compared are the server as it
is; with batch limit 1; with a tower that sees the picture again for every question, all else alike; and one that asks
every question in a pass of its own. Wanted: at least 95% answered, no 5xx, p95 at most 1.5 * clients / throughput,
memory at most 5% above its level after 10 s, throughput at least 1.2 times batch limit 1 and at least 2 times the tower
for every question.
"""

import argparse
import asyncio
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from residency.serve.interpret import Interpreter, Picture, open_interpreter
from residency.serve.run import Wanted, listen_at, serve_model
from residency.serve.told import AnswerTold
from residency.types import Question, Sample
from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, draw_image

SERVERS = {"as it is": 8, "batch limit 1": 1, "tower for every question": 8, "every question alone": 8}
PICTURES = 32
SETTLED = 10.0
ANSWERED, SLOWEST, GROWTH, OVER_SINGLE, OVER_TOWER = 0.95, 1.5, 1.05, 1.2, 2.0


class EachAlone(Interpreter):
    """Asks every question on its own, so that the tower sees the picture again for each."""

    def read(self, pictures: Sequence[Picture], hear: Callable[[int, AnswerTold], None]) -> None:
        """Answer one question about all pictures after the other."""
        for question in self.questions:
            values = {field.name: getattr(self, field.name) for field in fields(self)} | {"asked": (question.id,)}
            Interpreter(**values).read(pictures, hear)


class SeesAgain(Interpreter):
    """Asks all questions together, but shows the tower a copy of the picture for each."""

    def pose(self, picture: Picture, place: int, question: Question) -> Sample:
        """Call the picture by another name for each question."""
        return super().pose(replace(picture, path=f"{picture.path}?{question.id}"), place, question)


def serve(name: str, store: Path, threads: int) -> None:
    """Run one of the servers."""
    import torch

    from residency.serve.people import People

    torch.set_num_threads(threads)
    kind = {"tower for every question": SeesAgain, "every question alone": EachAlone}.get(name, Interpreter)
    opened = open_interpreter("nano")
    interpreter = kind(**{field.name: getattr(opened, field.name) for field in fields(opened)})
    wanted = Wanted(model="nano", store=store, port=0, batch=SERVERS[name], timeout=120.0)
    serve_model(interpreter, wanted, People({}), listen_at(wanted.host, 0), lambda line: print(line, flush=True))


def draw_pictures() -> list[bytes]:
    """Return simulated pictures as PNG."""
    drawn = []
    for number in range(PICTURES):
        file = io.BytesIO()
        drawing = draw_image(CATEGORIES[number % len(CATEGORIES)], [811, number], HELD_OUT_SITE)
        Image.fromarray(drawing.image).save(file, "PNG")
        drawn.append(file.getvalue())
    return drawn


async def press(address: str, clients: int, seconds: float, process: int) -> dict[str, float]:
    """Let clients press for some seconds; return what they saw, and the server's memory meanwhile."""
    pictures = draw_pictures()
    statuses: list[int] = []
    latencies: list[float] = []
    began = time.perf_counter()
    weights: list[tuple[float, float]] = []

    async def press_on(number: int, client: httpx.AsyncClient) -> None:
        turn = number
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            answer = await client.post("/v1/interpret", files={"file": ("a.png", pictures[turn % PICTURES])})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                latencies.append(time.perf_counter() - sent)
            elif answer.status_code == 429:
                await asyncio.sleep(float(answer.headers["retry-after"]))
            turn += clients

    async def weigh() -> None:
        while time.perf_counter() - began < seconds:
            weights.append((time.perf_counter() - began, resident_megabytes(process)))
            await asyncio.sleep(0.5)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=180, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(press_on(number, client) for number in range(clients)), weigh())
    took = time.perf_counter() - began
    settled = [weight for at, weight in weights if at >= min(SETTLED, seconds / 2)]
    return {
        "requests": len(statuses),
        "answered": len(latencies) / len(statuses),
        "failed": sum(status >= 500 for status in statuses),
        "per second": len(latencies) / took,
        "p50": float(np.quantile(latencies, 0.5)),
        "p95": float(np.quantile(latencies, 0.95)),
        "MB": settled[0],
        "MB at most": max(settled),
    }


def resident_megabytes(process: int) -> float:
    """Return a process's memory (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def measure(name: str, clients: int, seconds: float, threads: int) -> dict[str, float]:
    """Start a server, warm it with a few pictures, press, and stop it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--serve", name, "--store", folder, "--threads", str(threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        with (
            Path(folder, "log").open("w+") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
        ):
            try:
                address = _await_address(Path(folder, "log"), process)
                asyncio.run(press(address, clients, min(SETTLED, seconds / 2), process.pid))
                return asyncio.run(press(address, clients, seconds, process.pid))
            finally:
                process.terminate()


def _await_address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    while process.poll() is None:
        text = log.read_text()
        if (found := re.search(r"open (http://\S+?)/ ", text)) and '"start"' in text:
            return found[1]
        time.sleep(0.1)
    raise SystemExit(log.read_text())


def judge(found: dict[str, dict[str, float]], clients: int) -> list[tuple[str, bool]]:
    """Return what was wanted, and whether it was reached."""
    own, single, tower = (found[name] for name in list(SERVERS)[:3])
    rate = own["per second"]
    bound = SLOWEST * clients / rate
    return [
        (f"answered {own['answered']:.1%} (wanted {ANSWERED:.0%})", own["answered"] >= ANSWERED),
        (f"5xx {own['failed']:.0f} (wanted 0)", own["failed"] == 0),
        (f"p95 {own['p95']:.2f} s (at most {bound:.2f} s)", own["p95"] <= bound),
        (f"memory {own['MB at most'] / own['MB']:.3f} of its level after 10 s (at most {GROWTH})",
         own["MB at most"] <= GROWTH * own["MB"]),
        (f"{rate / single['per second']:.2f} times batch limit 1 (at least {OVER_SINGLE})",
         rate >= OVER_SINGLE * single["per second"]),
        (f"{rate / tower['per second']:.2f} times the tower for every question (at least {OVER_TOWER})",
         rate >= OVER_TOWER * tower["per second"]),
    ]  # fmt: skip


def main() -> None:
    """Measure every server and print a table, the verdicts, and the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--threads", type=int, default=1, help="of the model; the clients and the web server need a core"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", choices=list(SERVERS), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.store, asked.threads)
        return
    clients, seconds = (8, 8.0) if asked.quick else (asked.clients, asked.seconds)
    found = {}
    print(f"{clients} clients, {seconds:g} s, {asked.threads} model thread(s) of {os.cpu_count()} cores")
    for name in SERVERS:
        found[name] = one = measure(name, clients, seconds, asked.threads)
        told = f"{name:26} {one['per second']:6.2f} pictures/s  p50 {one['p50']:.2f} s  p95 {one['p95']:.2f} s"
        share = f"answered {one['answered']:.1%}  5xx {one['failed']:.0f}  {one['MB at most']:.0f} MB"
        print(f"{told}  {share}", flush=True)
    for told, reached in judge(found, clients):
        print(f"{'reached' if reached else 'MISSED '}  {told}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
