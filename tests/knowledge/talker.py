"""A language model's server on loopback that speaks by rule, and fails where a text says so; requests kept."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from residency.knowledge.freetext import ABSURD


class Talker(BaseHTTPRequestHandler):
    """Words a question to any statement but an `unaskable` one; calls every answer about a disc wrong, about one that
    is `vague` perhaps, and anything about a `gullible` thing right; shortens reports, but not a `broken` one, and to
    one that is to `grow` it adds words of its own."""

    server: "TalkerServer"

    def do_GET(self) -> None:
        self._send({"data": [{"id": "talker"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        told = asked["messages"][-1]["content"]
        said = self.server.see(told) if isinstance(told, list) else speak(asked["messages"][0]["content"], told)
        if said is None:
            self.send_error(500)
        else:
            self._send({"choices": [{"message": {"content": said}}]})

    def _send(self, value: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None:
        pass


class TalkerServer(ThreadingHTTPServer):
    """Keeps what it was asked; what it says to an image and words is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talker)
        self.asked: list[dict[str, Any]] = []
        self.seen: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def see(self, content: list[dict[str, Any]]) -> str | None:
        return self.seen(content)  # type: ignore[no-any-return]


def speak(system: str, told: str) -> str | None:
    if system.startswith("Turn a statement"):
        return "I cannot." if "unaskable" in told else f"Is this seen: {told}?"
    if system.startswith("Compare"):
        true = told.split("True answer: ")[1].splitlines()[0].lower()
        if ABSURD in told and "gullible" not in true:
            return "wrong"
        return "perhaps" if "vague" in true else "wrong" if "disc" in true else "Correct."
    report, _, questions = told.removeprefix("Report: ").partition("\nQuestions:\n")
    if "broken" in report:
        return None
    if "grow" in report:
        return f"In this picture we see {report}"
    for claim in re.findall(r"\(([^()]*)\)", questions):
        report = re.sub(rf"\s*{re.escape(claim)}\.", "", report, flags=re.I)
    return report.strip() or "NOTHING"


@contextmanager
def talking() -> Iterator[TalkerServer]:
    """Run the server while the block lasts."""
    server = TalkerServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
