"""Hostile input, told to a running server: no 5xx, no crash, no leak, each refused with a reason."""

import socket
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pydicom.data
import pytest

from tests.serve.hostile import (
    Attack,
    bombs,
    broken_forms,
    damaged_pictures,
    hostile_dicom,
    hostile_names,
    hostile_paths,
    hostile_reviews,
    wrong_kinds,
)
from tests.serve.server import Server, serving

WEIGHT_MB = 400
"""What the server may grow by over the whole corpus."""


def send(server: Server, attack: Attack) -> httpx.Response:
    """Send a request as it is: no client mends its path."""
    url = httpx.URL(server.address).copy_with(raw_path=attack.path.encode("ascii", "ignore") or b"/")
    request = httpx.Request(attack.method, url, content=attack.body, headers=attack.headers)
    return server.client.send(request)


def test_no_hostile_input_harms(server: Server, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    case = server.interpret(pictures[0])["case"]
    whole = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False) or "").read_bytes()
    corpus = [
        *damaged_pictures(), *bombs(), *wrong_kinds(), *hostile_names(), *broken_forms(), *hostile_reviews(case),
        *hostile_paths(), *hostile_dicom(whole),
    ]  # fmt: skip
    assert len(corpus) >= 150
    before = weigh(server)
    statuses: Counter[int] = Counter()
    for attack in corpus:
        try:
            answer = send(server, attack)
        except httpx.HTTPError as error:
            raise AssertionError(attack.name) from error
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (attack.name, answer.text)
        if not attack.fine:
            assert answer.status_code >= 400, (attack.name, answer.text)
        if answer.status_code >= 400:
            told = answer.json()
            assert told["error"]["reason"] and len(told["request"]) == 16, attack.name
            assert not any(word in answer.text for word in ("Traceback", "site-packages", "/work/", "sqlite")), (
                attack.name
            )
            assert "<script" not in answer.text
    assert server.process.poll() is None
    assert server.client.get("/health").json()["status"] == "ok"
    assert server.interpret(pictures[1])["answers"]
    grown = weigh(server) - before
    assert grown < WEIGHT_MB
    logs = server.told.read_text()
    assert "Jane Roe" not in logs and "DROP TABLE" not in logs and "etc/passwd" not in logs
    assert not Path("/tmp/pwned").exists()
    with capsys.disabled():
        shown = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        print(f"\nhostile corpus: {len(corpus)} inputs; by status {shown}; memory grew by {grown:.0f} MB")


def test_slow_uploads_are_ended_and_others_go_on(tmp_path: Path, pictures: list[Path]) -> None:
    with serving(tmp_path, "--upload-seconds", "2") as server:
        place = urlsplit(server.address)
        slow = [socket.create_connection((place.hostname or "", place.port or 0), timeout=20) for _ in range(20)]
        head = (
            f"POST /v1/interpret HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=zz\r\n\r\n--zz"
        )
        for one in slow:
            one.sendall(head.encode())
        began = time.monotonic()
        assert server.interpret(pictures[0])["answers"]
        assert time.monotonic() - began < 10
        answers = [b"".join(iter(lambda one=one: one.recv(4096), b"")).decode() for one in slow]  # type: ignore[misc]
        assert all(answer.startswith("HTTP/1.1 408") and "did not come within 2 s" in answer for answer in answers)
        for one in slow:
            one.close()
        gone = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
        gone.sendall(head.encode())
        gone.close()
        assert server.client.get("/health").json()["queue"] == 0


def weigh(server: Server) -> float:
    """Return the server's memory in MB."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")
