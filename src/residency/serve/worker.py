"""Pictures in from many requests, answers out: one model thread, a bounded queue before it, requests in batches.

A full queue refuses at once and says when to come again, so that nobody waits for an answer that comes too late.
Errands (whatever else needs the model) are done one by one when no picture waits.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, PriorityQueue
from threading import Lock, Thread
from typing import Any, Protocol

from residency.serve.interpret import Picture
from residency.serve.told import AnswerTold

Hear = Callable[[AnswerTold], None]
RECENT = 32
MOST_ERRANDS = 16
PICTURE, END, ERRAND = range(3)
"""What is taken first; errands that wait when the server closes are left."""


class Reads(Protocol):
    """What answers pictures (`Interpreter`)."""

    def read(self, pictures: list[Picture], hear: Callable[[int, AnswerTold], None]) -> None:
        """Call `hear` with a picture's place and each of its answers."""


class Busy(Exception):
    """The queue is full; `retry_after` is after how many seconds a place should be free."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"the queue is full; come again in {retry_after} s")


@dataclass
class Job:
    """A picture that waits; `done` holds the model's seconds for it when all its answers were heard."""

    picture: Picture
    hear: Hear
    done: "Future[float]" = field(default_factory=Future)


@dataclass
class Errand:
    """Something else to do with the model."""

    act: Callable[[], Any]
    done: "Future[Any]" = field(default_factory=Future)


class Worker:
    """The model thread and its queue. `batch` pictures are read at once at most; `places` may wait."""

    def __init__(self, reader: Reads, batch: int = 8, places: int = 64) -> None:
        self.reader, self.batch = reader, batch
        self.queue: PriorityQueue[tuple[int, int, Job | Errand | None]] = PriorityQueue()
        self._count = count()
        self.places = places
        self.held = 0
        self.errands = 0
        self.batches: Callable[[int, float], None] = lambda pictures, seconds: None
        self._lock = Lock()
        self._recent: deque[float] = deque([1.0], maxlen=RECENT)
        self._thread = Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, then end."""
        self._put(END, None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the model thread is at work."""
        return self._thread.is_alive()

    def reserve(self) -> None:
        """Take a place; `submit` fills it, `release` gives it back.

        Raises:
            Busy: all are taken.
        """
        with self._lock:
            if self.held >= self.places:
                waiting = self.held * sum(self._recent) / len(self._recent)
                raise Busy(max(1, math.ceil(min(waiting / 2, 60))))
            self.held += 1

    def release(self) -> None:
        """Give a place back."""
        with self._lock:
            self.held -= 1

    def submit(self, picture: Picture, hear: Hear) -> "Future[float]":
        """Queue a picture in a reserved place; `hear` is called on the model thread with each answer."""
        job = Job(picture, hear)
        job.done.add_done_callback(lambda _: self.release())
        self._put(PICTURE, job)
        return job.done

    def run_later(self, act: Callable[[], Any], *, always: bool = False) -> "Future[Any]":
        """Queue an errand; pictures that come meanwhile wait for its end, or until it calls `give_way`.

        Raises:
            Busy: so many wait that this one would wait long; never if it is to be done `always`.
        """
        errand = Errand(act)
        with self._lock:
            if self.errands >= MOST_ERRANDS and not always:
                raise Busy(5)
            self.errands += 1
        errand.done.add_done_callback(lambda _: self._forget())
        self._put(ERRAND, errand)
        return errand.done

    def give_way(self) -> None:
        """Answer the pictures that wait; for an errand to call between two steps, on the model thread."""
        while jobs := self._gather_waiting():
            self._take_up(jobs)

    def _forget(self) -> None:
        with self._lock:
            self.errands -= 1

    def _put(self, rank: int, what: Job | Errand | None) -> None:
        self.queue.put((rank, next(self._count), what))

    def _work(self) -> None:
        while (jobs := self._gather()) is not None:
            self._take_up(jobs)

    def _take_up(self, jobs: list[Job]) -> None:
        """Answer the jobs that are still wanted."""
        if jobs := [job for job in jobs if job.done.set_running_or_notify_cancel()]:
            self._answer(jobs)

    def _gather(self) -> list[Job] | None:
        """Return what waits, at most a batch (none, where an errand was done); None when the server closes."""
        _, _, first = self.queue.get()
        if isinstance(first, Errand):
            _run(first)
            return []
        if first is None:
            return None
        return [first, *self._gather_waiting(self.batch - 1)]

    def _gather_waiting(self, most: int | None = None) -> list[Job]:
        """Return the pictures that wait now, at most a batch."""
        jobs: list[Job] = []
        while len(jobs) < (self.batch if most is None else most):
            try:
                rank, place, job = self.queue.get_nowait()
            except Empty:
                break
            if not isinstance(job, Job):
                self.queue.put((rank, place, job))
                break
            jobs.append(job)
        return jobs

    def _answer(self, jobs: list[Job]) -> None:
        """Read a batch; if that fails, each picture alone, so that one does not take the others with it."""
        began = time.perf_counter()
        try:
            self.reader.read([job.picture for job in jobs], lambda place, answer: jobs[place].hear(answer))
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
            else:
                jobs[0].done.set_exception(error)
            return
        seconds = (time.perf_counter() - began) / len(jobs)
        with self._lock:
            self._recent.append(seconds)
        self.batches(len(jobs), seconds)
        for job in jobs:
            job.done.set_result(seconds)


def _run(errand: Errand) -> None:
    """Do an errand; its failure is its own."""
    if not errand.done.set_running_or_notify_cancel():
        return
    try:
        errand.done.set_result(errand.act())
    except Exception as error:
        errand.done.set_exception(error)
