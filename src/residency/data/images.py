"""Paths of images in, what each holds out: SHA-256, size and a small grey picture, or why it cannot be used.

Files are opened read-only, read once, and decoded on two cores while the caller goes on with other work.
"""

import hashlib
import io
import signal
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from residency.errors import UserError
from residency.progress import track
from residency.types import Problem, Source

MAX_PIXELS = 50_000_000
"""More pixels than this in one picture are taken for a decompression bomb."""
THUMB = 64
"""Side in pixels of the small grey picture by which near-duplicates are compared."""
_CHUNK = 32
_MANY = 500
"""Fewer images than this are read before processes for them have started."""
_FAILS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error, MemoryError)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One readable image: its name, bytes' SHA-256, (width, height), and (bytes, ns of the last change) when read.

    `thumb` is the picture in 64 x 64 grey levels, row by row.
    """

    name: str
    sha256: str
    size: tuple[int, int]
    stamp: tuple[int, int]
    thumb: bytes = field(repr=False, compare=False)


def read_images(paths: Mapping[str, Path]) -> tuple[list[ImageFile], list[Problem]]:
    """Read images, each under its name; return those that can be used and a problem for each that cannot."""
    with reading_ahead(paths) as finish:
        return finish()


@contextmanager
def reading_ahead(
    paths: Mapping[str, Path], workers: int = 2
) -> Iterator[Callable[[], tuple[list[ImageFile], list[Problem]]]]:
    """Start to read images while the block does other work; what it is given waits, and returns as `read_images` does.

    An error in the block ends the reading too.

    Raises:
        UserError: a process that read images was ended from outside.
    """
    # A few images a job: one each would spend a tenth of the time on handing them over.
    items = list(paths.items())
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    pool = _open_pool(workers, len(items))
    try:
        results = pool.map(_read_chunk, chunks)

        def finish() -> tuple[list[ImageFile], list[Problem]]:
            read = list(chain.from_iterable(track(results, "reading images", total=len(chunks))))
            images = [image for image in read if isinstance(image, ImageFile)]
            return images, [problem for problem in read if isinstance(problem, Problem)]

        yield finish
    except BrokenProcessPool:
        raise UserError(
            "reading the images was ended from outside",
            do="see that memory is free, then run the same command again",
            exit_code=1,
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _open_pool(workers: int, images: int) -> Executor:
    """Return what reads images beside the caller's own work.

    Threads do where the caller only waits: Pillow and hashlib release Python's lock. Beside work in Python they starve,
    so many images get processes, where a process is a cheap copy of this one (Linux).
    """
    if images < _MANY or sys.platform != "linux":
        return ThreadPoolExecutor(workers)
    # Ctrl-C reaches every process of the terminal; the caller's answer to it is enough.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=signal.signal, initargs=ignore)


def _read_chunk(items: Sequence[tuple[str, Path]]) -> list[ImageFile | Problem]:
    return [read_image(*item) for item in items]


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Silence what Pillow and openpyxl warn of and we check ourselves; enter it before any thread is started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
        yield


def read_image(name: str, path: Path) -> ImageFile | Problem:
    """Read, hash and decode one image; a problem says why it cannot be used."""
    try:
        data = path.read_bytes()
        status = path.stat()
    except OSError as error:
        return image_problem(name, "unreadable-image", f"cannot be opened: {error.strerror}")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return image_problem(name, "decompression-bomb", f"{width} x {height} pixels is more than we decode")
            picture.load()
            thumb = _shrink(picture)
    except Image.DecompressionBombError:
        return image_problem(name, "decompression-bomb", "more pixels than we decode")
    except UnidentifiedImageError:
        return image_problem(name, "unreadable-image", "cannot be decoded: no picture, or of an unknown kind")
    except _FAILS as error:
        return image_problem(name, "unreadable-image", f"cannot be decoded: {str(error)[:120]}")
    digest = hashlib.sha256(data).hexdigest()
    return ImageFile(name, digest, (width, height), (status.st_size, status.st_mtime_ns), thumb)


def _shrink(picture: Image.Image) -> bytes:
    """Return the grey levels of a 64 x 64 copy; 16-bit and float pictures are stretched to their own range first."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float32)
        low, high = float(values.min()), float(values.max())
        grey = Image.fromarray(((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8))
    else:
        grey = picture if picture.mode == "L" else picture.convert("L")
    return grey.resize((THUMB, THUMB), Image.Resampling.BOX).tobytes()


def image_problem(name: str, kind: str, message: str) -> Problem:
    """Return what is wrong with one image."""
    return Problem(kind=kind, message=message, source=Source(file=name))
