"""Samples and what makes a record of each in; a file of JSON lines out, which a stopped command goes on with."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from residency.files import read_lines
from residency.progress import track
from residency.types import Record, Sample

R = TypeVar("R", bound=Record)


def stream_lines(
    path: Path, kind: type[R], samples: Sequence[Sample], make: Callable[[list[Sample]], Iterable[R]], what: str
) -> list[R]:
    """Return a record for each sample; those of an earlier, stopped command are not made again.

    A record's `id` is its sample's. While it is written the file is called `path.part`; a line that was cut off is
    dropped. The name `path` means that it is whole.
    """
    if path.is_file():
        return read_lines(path, kind)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    done: list[R] = []
    if part.is_file():
        kept = part.read_bytes().rpartition(b"\n")[0]
        part.write_bytes(kept + b"\n" if kept else b"")
        done = read_lines(part, kind)
    made = {str(getattr(record, "id")) for record in done}  # noqa: B009
    waiting = [sample for sample in samples if sample.id not in made]
    with part.open("ab", buffering=0) as file:
        for record in track(make(waiting), what, total=len(waiting)):
            file.write(record.line().encode() + b"\n")
            done.append(record)
    part.replace(path)
    return done
