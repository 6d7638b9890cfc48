"""Progress that a person sees: an iterable in, the same items out, a bar on standard error while they pass."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from residency.processes import is_first

T = TypeVar("T")
console = Console(stderr=True)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, showing `what`, how many are done and the time left; silent where no terminal looks on."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with open_bar() as bar:
        yield from bar.track(items, total=total, description=what)


def open_bar() -> Progress:
    """Return a bar of our look: what, how many of how many, the time left; gone when done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (console.is_terminal and is_first()), transient=True)
