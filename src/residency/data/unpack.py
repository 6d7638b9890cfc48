"""A source whose pictures lie within its own files in, the same source with the pictures in a folder out."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from residency.data.material import Origin
from residency.data.sources.formats import FORMATS
from residency.errors import UserError
from residency.files import hidden_folder


@contextmanager
def unpacked(origin: Origin, out: Path, limit: int | None, seed: int) -> Iterator[Origin]:
    """Yield the source, its pictures in a hidden folder beside `out` that is gone when the block ends.

    Of `limit` rows, drawn by the seed; None takes all. Other sources are yielded as they are.

    Raises:
        UserError: a limit for a source whose pictures lie in a folder, or no folder can be made.
    """
    unpack = getattr(FORMATS[origin.layout], "unpack", None) if origin.layout else None
    if unpack is None:
        if limit is not None:
            able = [name for name, module in FORMATS.items() if hasattr(module, "unpack")]
            raise UserError(
                "--limit draws from layouts that hold their pictures within", allowed=able, do="leave it out"
            )
        yield origin
        return
    folder = hidden_folder(out)
    try:
        yield replace(origin, place=unpack(origin.place, folder, limit, seed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
