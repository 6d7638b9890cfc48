"""The model thread takes pictures before errands, and an errand's failure is its own."""

from collections.abc import Callable
from threading import Event

import pytest
from PIL import Image

from residency.serve.interpret import Picture
from residency.serve.told import AnswerTold
from residency.serve.worker import END, MOST_ERRANDS, Busy, Worker

PICTURE = Picture(Image.new("RGB", (16, 16)), "", "")


class Noting:
    """Answers nothing, and notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def read(self, pictures: list[Picture], hear: Callable[[int, AnswerTold], None]) -> None:
        self.seen.append(f"{len(pictures)} pictures")


def test_pictures_go_before_errands_which_are_done_in_order() -> None:
    reader, go = Noting(), Event()
    worker = Worker(reader)
    worker.start()
    worker.run_later(go.wait)  # holds the thread until all wait
    last = [worker.run_later(lambda name=name: reader.seen.append(name)) for name in ("first", "second")]
    for _ in range(2):
        worker.reserve()
        worker.submit(PICTURE, lambda told: None)
    go.set()
    for done in last:
        done.result(10)
    worker.close()
    assert reader.seen == ["2 pictures", "first", "second"]


def test_an_errand_gives_way_to_pictures_between_its_steps() -> None:
    reader = Noting()
    worker = Worker(reader, batch=2)
    worker.start()

    def walk() -> None:
        for step in range(2):
            reader.seen.append(f"step {step}")
            for _ in range(3 - 3 * step):
                worker.reserve()
                worker.submit(PICTURE, lambda told: None)
            worker.give_way()

    worker.run_later(walk).result(10)
    worker.close()
    assert reader.seen == ["step 0", "2 pictures", "1 pictures", "step 1"]


def test_an_errand_that_fails_tells_who_asked_and_leaves_the_thread_at_work() -> None:
    worker = Worker(Noting())
    worker.start()
    with pytest.raises(ZeroDivisionError):
        worker.run_later(lambda: 1 / 0).result(10)
    assert worker.run_later(lambda: "done").result(10) == "done"
    assert worker.alive
    worker.close()


def test_too_many_errands_are_sent_away_and_closing_does_not_wait_for_them() -> None:
    reader, go = Noting(), Event()
    worker = Worker(reader)
    left = [worker.run_later(lambda: reader.seen.append("errand")) for _ in range(MOST_ERRANDS)]
    with pytest.raises(Busy) as busy:
        worker.run_later(go.set)
    assert busy.value.retry_after > 0
    worker.run_later(go.set, always=True)
    worker.reserve()
    worker.submit(PICTURE, lambda told: None)
    worker.queue.put((END, 10_000, None))  # the end is already asked for when the thread begins
    worker.start()
    worker.close()
    assert reader.seen == ["1 pictures"] and not any(one.done() for one in left)
