"""Experiments and rows in, a line of results a finished cell out; a benchmark that was killed goes on after the last.

A cell is one row's answers to one draw. Its line holds truths and answers, so that every table can be made from it.
"""

import ctypes
import fcntl
import gc
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from fewshot_bench import Bench, Made
from fewshot_data import EXPERIMENTS, Draw, Experiment, draws_of, prepare
from fewshot_nano import ABLATIONS
from fewshot_rows import make_row, rows_of, settings_of
from residency.data.dataset import Dataset
from residency.files import is_there, read_lines, write_lines
from residency.types import Answer, Record

QUICK_IMAGES = 24, 40
"""How many images a quick bench trains on and tests, at most."""
Mark = tuple[str, str, Answer, Answer | None]
"""A sample's id and group, its true answer, and what was answered (None: nothing that could be read)."""


class Cell(Record):
    """One row's answers to one draw, with the seconds of training and the process's peak memory in MB."""

    experiment: str
    size: int
    draw: int
    row: str
    settings: str
    seconds: float
    memory_mb: float
    marks: tuple[Mark, ...]

    @property
    def place(self) -> tuple[str, int, int, str]:
        """What tells a cell from all others of one table."""
        return self.experiment, self.size, self.draw, self.row


class Results:
    """A file of cells. Each is written when it is finished; the file is whole at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Cell]:
        """Return the cells."""
        return read_lines(self.path, Cell) if is_there(self.path) else []

    def add(self, cells: Sequence[Cell]) -> None:
        """Write cells in the place of those made with other settings; processes wait for each other."""
        places = {cell.place for cell in cells}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_lines(self.path, [*(cell for cell in self.read() if cell.place not in places), *cells])


@dataclass(frozen=True)
class Plan:
    """What is asked for: experiments, rows (None: all), at most so many draws a size (0: all), and whose share.

    Of `jobs` processes this one takes every draw whose number in the plan leaves `job`.
    """

    shared: Path
    experiments: Sequence[str]
    rows: Sequence[str] | None = None
    draws: int = 0
    job: int = 0
    jobs: int = 1


def run_cells(bench: Bench, results: Results, plan: Plan) -> None:
    """Make each cell that is not there yet; one of several processes ends when the one that began them has."""
    parent = os.getppid()
    done = {(*cell.place, cell.settings) for cell in results.read()}
    for draw, row in list_cells(bench, plan):
        if plan.jobs > 1 and os.getppid() != parent:
            return
        settings = settings_of(bench, draw, row)
        place = draw.experiment.name, draw.size, draw.number
        if not settings or (*place, row, settings) in done:
            continue
        _begin_memory()
        began = perf_counter(), process_time()
        made = make_row(bench, draw, row)
        memory = peak_memory()
        cells = [
            Cell(
                experiment=place[0],
                size=place[1],
                draw=place[2],
                row=name,
                settings=settings,
                seconds=round(one.seconds, 2),
                memory_mb=memory,
                marks=mark_answers(draw, one),
            )
            for name, one in made.items()
        ]
        results.add(cells)
        done |= {(*cell.place, cell.settings) for cell in cells}
        seconds = perf_counter() - began[0], process_time() - began[1]
        bench.say(f"{draw.name} {row}: {seconds[0]:.1f} s ({seconds[1]:.1f} s of the processor's time)")


def list_cells(bench: Bench, plan: Plan) -> Iterator[tuple[Draw, str]]:
    """Yield draws and their rows, draw by draw."""
    rows = plan.rows
    for number, draw in enumerate(_list_draws(bench, plan)):
        if number % plan.jobs == plan.job:
            for row in rows_of(draw):
                if rows is None or row in rows or (row in ABLATIONS and "ablations" in rows):
                    yield draw, row


def _list_draws(bench: Bench, plan: Plan) -> Iterator[Draw]:
    """Yield all draws of the plan's experiments."""
    for name in plan.experiments:
        experiment = EXPERIMENTS[name]
        dataset = prepare(experiment, plan.shared, bench.work)
        yield from list_draws(experiment, dataset, experiment.sizes, bench.quick, plan.draws)


def list_draws(
    experiment: Experiment, dataset: Dataset, sizes: Sequence[int], quick: bool, most: int = 0
) -> Iterator[Draw]:
    """Yield the draws of these sizes, at most so many of each (0: all); quick: the first one of the first size, cut."""
    for size in sizes[:1] if quick else sizes:
        draws = draws_of(experiment, dataset, size)
        yield from [draws[0].cut(*QUICK_IMAGES)] if quick else draws[: most or None]


def mark_answers(draw: Draw, made: Made) -> tuple[Mark, ...]:
    """Return what a draw's test samples hold beside what was answered."""
    marks = []
    for sample in draw.test:
        assert sample.answer is not None
        marks.append((sample.id, sample.group, sample.answer, made.answers.get(sample.id)))
    return tuple(marks)


def _begin_memory() -> None:
    """Give freed memory back and let the kernel count the peak from here on, where it can (Linux)."""
    gc.collect()
    if sys.platform == "linux":
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Return the process's peak resident memory in MB: since `_begin_memory` on Linux, elsewhere since its start."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
