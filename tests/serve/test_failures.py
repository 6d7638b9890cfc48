"""What fails on the server's side is told with its request's id, logged without what was sent, and survived."""

import asyncio
import io
import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from residency.serve.guard import Guard, Rules
from residency.serve.logs import Logs, Meters
from residency.serve.people import People
from tests.serve.server import Server, draw_study, serving


async def _break(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("Zelda Quimby")


def test_a_failure_is_told_and_logged_without_what_it_says() -> None:
    stream = io.StringIO()
    guard = Guard(_break, Rules(People({})), Logs(stream), Meters())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/v1/cases")

    answer = asyncio.run(ask())
    assert answer.status_code == 500 and "content-security-policy" in answer.headers
    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in logged] == ["error", "request"]
    assert logged[0]["kind"] == "ValueError" and logged[0]["request"] == answer.json()["request"]
    assert any(place.startswith("test_failures.py:") for place in logged[0]["at"])
    assert "Zelda" not in stream.getvalue() + answer.text


def test_cases_are_paged_by_the_times_that_are_told(server: Server, pictures: list[Path]) -> None:
    made = [server.interpret(pictures[number % 3])["case"] for number in range(4)][::-1]
    seen: list[str] = []
    before: dict[str, str] = {}
    for _ in range(2):
        cases = server.client.get("/v1/cases", params={"limit": "2", **before}).json()["cases"]
        seen += [case["case"] for case in cases]
        before = {"before": cases[-1]["created"]}
    assert seen == made


def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    try:
        with serving(tmp_path / "run", "--store", place) as server:
            statuses, kept = [], []
            for number in range(12):
                picture = draw_study(tmp_path / f"{number}.png", 100 + number)
                answer = server.client.post("/v1/interpret", files={"file": ("a.png", picture.read_bytes())})
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    kept.append(answer.json()["case"])
                if statuses[-2:] == [507, 507]:
                    break
            assert kept and statuses[-1] == 507
            assert "cannot be written" in answer.json()["error"]["reason"] and str(place) not in answer.text
            assert all(server.client.get(f"/v1/cases/{case}").status_code == 200 for case in kept)
            assert server.client.get("/health").json() == {"status": "ok", "model": "nano", "queue": 0, "places": 64}
    finally:
        subprocess.run(["umount", str(place)], check=False)
