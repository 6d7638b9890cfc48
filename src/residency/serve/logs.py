"""What happened in, a line of JSON and a meter's step out: never a picture, a name, a path or a text that was sent."""

import json
import logging
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Logs:
    """Writes one JSON object a line to a stream."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self._lock = threading.Lock()

    def write(self, event: str, **fields: object) -> None:
        """Write what happened; values are numbers, ids that the server made, or names from its own code."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields})
        with self._lock:
            self.stream.write(line + "\n")
            self.stream.flush()

    def write_error(self, error: BaseException, **fields: object) -> None:
        """Write an error's kind and where in the code it arose; its message may quote what was sent, so not that."""
        places = []
        step = error.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            places.append(f"{code.co_filename.rpartition('/')[2]}:{step.tb_lineno}")
            step = step.tb_next
        self.write("error", kind=type(error).__name__, at=places[-6:], **fields)


class Meters:
    """Prometheus's counters of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        seconds = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
        self.requests = Counter(
            "residency_requests", "Answered requests.", ["route", "method", "status"], registry=registry
        )
        self.latency = Histogram(
            "residency_request_seconds", "From a request's head to its answer's end.", ["route"],
            buckets=seconds, registry=registry,
        )  # fmt: skip
        self.queued = Gauge("residency_queue", "Pictures that wait or are read.", registry=registry)
        self.batches = Histogram(
            "residency_batch_pictures", "Pictures read at once.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.model = Histogram(
            "residency_model_seconds", "The model's time for a picture.", buckets=seconds, registry=registry
        )
        self.answers = Counter("residency_answers", "Answers told.", ["question", "sure"], registry=registry)
        self.refused = Counter("residency_refused", "Requests that were refused.", ["status"], registry=registry)
        self.reviews = Counter("residency_reviews", "Reviews kept.", ["verdict"], registry=registry)


class JsonHandler(logging.Handler):
    """Takes the web server's own log lines; of what is no start or end only the level and the place are kept."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self.logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if record.exc_info and record.exc_info[1] is not None:
            self.logs.write_error(record.exc_info[1], request="")
            return
        fields: Mapping[str, object] = {"level": record.levelname.lower(), "at": f"{record.module}:{record.lineno}"}
        self.logs.write("server", **fields)
