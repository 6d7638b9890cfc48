"""A rule in, an OpenAI-compatible server on loopback that answers by it out; what it was asked is kept."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[str, Any], str | None]
"""The task (a system turn) and what is asked in (words, or parts with an image), the answer out; None is a failure."""


class Talker(ThreadingHTTPServer):
    """Speaks as vLLM, Ollama and `transformers serve` do."""

    def __init__(self, say: Say, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say, self.name = say, name
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Talker

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": self.server.name, "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        said = self.server.say(asked["messages"][0]["content"], asked["messages"][-1]["content"])
        if said is None:
            self.send_error(500)
        else:
            self._send({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]})

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def talking(say: Say, name: str = "talker") -> Iterator[Talker]:
    """Run the server while the block lasts."""
    with Talker(say, name) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
