"""A folder of images in, an index out: name, SHA-256, size and a small grey picture of each, and what cannot be read.

Files are opened read-only, read once, decoded on two threads (Pillow and hashlib release Python's lock).
"""

import hashlib
import io
import os
import re
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from threading import Event

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from residency.errors import UserError
from residency.progress import track
from residency.types import Problem, Source

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm"))
MAX_PIXELS = 50_000_000
"""More pixels than this in one picture are taken for a decompression bomb."""
THUMB = 64
"""Side in pixels of the small grey picture by which near-duplicates are compared."""
_CHUNK = 16
_FAILS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error, MemoryError)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One readable image: its name relative to the folder, bytes' SHA-256, (width, height), and a 64 x 64 grey one."""

    name: str
    path: Path
    sha256: str
    size: tuple[int, int]
    stamp: tuple[int, int]
    thumb: NDArray[np.uint8] = field(repr=False, compare=False)

    @property
    def folder(self) -> str:
        """The name of the folder it lies in, '' at the top."""
        return PurePosixPath(self.name).parent.name


class ImageIndex:
    """Finds an image by the name a sheet gives it, leniently: case, ending, spaces, sub-folders, Windows paths."""

    def __init__(self, root: Path, images: Iterable[ImageFile], problems: Iterable[Problem] = ()) -> None:
        self.root = root
        self.images = {image.name: image for image in images}
        self.problems = tuple(problems)
        self._bad = {problem.source.file: problem for problem in self.problems if problem.source}
        self._by: dict[int, defaultdict[str, list[str]]] = {}

    def find(self, written: str, hint: str | None = None) -> ImageFile | Problem:
        """Return the image meant by a written name, or what is wrong; `hint` is a folder that settles equal names."""
        wanted = PurePosixPath(written.strip().replace("\\", "/"))
        for number, level in enumerate(_LEVELS):
            hits = self._names(number).get(level(wanted.name), [])
            if len(hits) > 1:
                hits = _closest(hits, wanted, hint)
            if len(hits) == 1:
                bad = self._bad.get(hits[0])
                return bad or self.images[hits[0]]
            if hits:
                message = f"`{written}` may be any of {len(hits)} images"
                return Problem(kind="ambiguous-image", message=message, candidates=tuple(sorted(hits)[:3]))
        message = f"no image `{written}` in {self.root}"
        return Problem(kind="missing-image", message=message, candidates=self._near(wanted.name))

    def _names(self, number: int) -> defaultdict[str, list[str]]:
        """Return the images' names by what one level of leniency leaves of them; most sheets need the first alone."""
        if number not in self._by:
            names = self._by.setdefault(number, defaultdict(list))
            for name in (*self.images, *self._bad):
                names[_LEVELS[number](name.rpartition("/")[2])].append(name)
        return self._by[number]

    def _near(self, name: str) -> tuple[str, ...]:
        from rapidfuzz import process

        return tuple(hit[0] for hit in process.extract(name, self.images.keys(), limit=2, score_cutoff=80))


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.casefold())


_LEVELS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.casefold(),
    _squeezed,
    lambda name: _squeezed(PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in ENDINGS else name),
)


def _closest(hits: list[str], wanted: PurePosixPath, hint: str | None) -> list[str]:
    """Keep the hits whose folders agree longest with the written path, else those in the hinted folder."""
    folders = [_squeezed(part) for part in wanted.parts[:-1]][::-1]
    if folders:
        agreed = {}
        for hit in hits:
            own = [_squeezed(part) for part in PurePosixPath(hit).parts[:-1]][::-1]
            pairs = zip(folders, own, strict=False)
            agreed[hit] = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(own)))
        most = max(agreed.values())
        if most:
            hits = [hit for hit in hits if agreed[hit] == most]
    if len(hits) > 1 and hint:
        hinted = [hit for hit in hits if _squeezed(PurePosixPath(hit).parent.name) == _squeezed(hint)]
        hits = hinted or hits
    return hits


def index_images(root: Path, threads: int = 2, stop: Event | None = None) -> ImageIndex:
    """Read every image under the folder (links are not followed out of it); `stop` ends it early, without a result.

    Raises:
        UserError: the folder is missing, or holds no image, or a folder in it cannot be listed.
    """
    if not root.is_dir():
        raise UserError(f"no folder of images {root}", found="a file" if root.exists() else "nothing")
    paths, problems = list_images(root)
    if not paths and not problems:
        raise UserError(f"{root} holds no images", allowed=sorted(ENDINGS))
    images, unreadable = read_images({path.relative_to(root).as_posix(): path for path in paths}, threads, stop)
    return ImageIndex(root, images, [*problems, *unreadable])


def read_images(
    paths: Mapping[str, Path], threads: int = 2, stop: Event | None = None
) -> tuple[list[ImageFile], list[Problem]]:
    """Read images, each under its name; return those that can be used and a problem for each that cannot."""
    images, problems = [], []
    stop = stop or Event()

    def read(items: Sequence[tuple[str, Path]]) -> list[ImageFile | Problem]:
        return [] if stop.is_set() else [read_image(*item) for item in items]

    with ThreadPoolExecutor(threads) as pool:
        # A few images a job: one each would spend a tenth of the time on handing them over.
        items = list(paths.items())
        chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
        for result in chain.from_iterable(track(pool.map(read, chunks), "reading images", total=len(chunks))):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                images.append(result)
    return images, problems


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Silence what Pillow and openpyxl warn of and we check ourselves; enter it before any thread is started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
        yield


def list_images(root: Path) -> tuple[list[Path], list[Problem]]:
    """Return the image files under the folder in order of name, and links that point out of it."""
    paths: list[Path] = []
    problems: list[Problem] = []

    def refuse(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be listed", found=error.strerror, do="ask for the right")

    inside = root.resolve()
    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in ENDINGS:
                continue
            if not _is_text(name):
                shown = name.encode("utf-8", "replace").decode()
                problems.append(_problem(shown, "unreadable-image", "its name is no valid text: rename the file"))
            elif path.is_symlink() and not path.resolve().is_relative_to(inside):
                message = "a link out of the image folder is not followed"
                problems.append(_problem(path.relative_to(root).as_posix(), "outside-link", message))
            else:
                paths.append(path)
    return paths, problems


def read_image(name: str, path: Path) -> ImageFile | Problem:
    """Read, hash and decode one image; a problem says why it cannot be used."""
    try:
        data = path.read_bytes()
        status = path.stat()
    except OSError as error:
        return _problem(name, "unreadable-image", f"cannot be opened: {error.strerror}")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return _problem(name, "decompression-bomb", f"{width} x {height} pixels is more than we decode")
            picture.load()
            thumb = _shrink(picture)
    except Image.DecompressionBombError:
        return _problem(name, "decompression-bomb", "more pixels than we decode")
    except UnidentifiedImageError:
        return _problem(name, "unreadable-image", "cannot be decoded: no picture, or of an unknown kind")
    except _FAILS as error:
        return _problem(name, "unreadable-image", f"cannot be decoded: {str(error)[:120]}")
    digest = hashlib.sha256(data).hexdigest()
    return ImageFile(name, path, digest, (width, height), (status.st_size, status.st_mtime_ns), thumb)


def _shrink(picture: Image.Image) -> NDArray[np.uint8]:
    """Return a (64, 64) grey copy; 16-bit and float pictures are stretched to their own range first."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float32)
        low, high = float(values.min()), float(values.max())
        grey = Image.fromarray(((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8))
    else:
        grey = picture if picture.mode == "L" else picture.convert("L")
    return np.asarray(grey.resize((THUMB, THUMB), Image.Resampling.BOX))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(name: str, kind: str, message: str) -> Problem:
    return Problem(kind=kind, message=message, source=Source(file=name))
