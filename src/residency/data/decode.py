"""A folder of DICOM files in; its de-identified pictures in a hidden folder, found by the files' names, out."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from residency.data.index import ENDINGS, ImageIndex
from residency.data.material import Origin
from residency.dicom.folder import Settings, holds_dicom, list_folder
from residency.dicom.pictures import Decoded, write_pictures
from residency.errors import CheckFailed, UserError
from residency.types import Problem, Source

FROM_FILE = "dicom"
"""The grouping by the patient that each DICOM file names."""


def is_dicom_folder(images: Path) -> bool:
    """Tell whether a folder holds DICOM files; files that are named as pictures are not opened."""
    return holds_dicom(images, ENDINGS)


@contextmanager
def decoded(origin: Origin, out: Path, settings: Settings) -> Iterator[tuple[Origin, Decoded | None]]:
    """Yield the source with its DICOM files as PNGs in a hidden folder beside `out`, gone when the block ends.

    Sources without DICOM are yielded as they are, with None.

    Raises:
        MissingExtra: pydicom, a decoder or RapidOCR is not installed.
        CheckFailed: `dicom`: no file can be used.
        UserError: no folder can be made.
    """
    if origin.place.unpacked or not is_dicom_folder(origin.place.images):
        yield origin, None
        return
    listed = list_folder(origin.place.images)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be made", found=error.strerror, do="choose another --out", exit_code=1) from None
    try:
        (folder / "images").mkdir()
        found = write_pictures(listed.files, folder / "images", settings)
        if not found.images:
            raise CheckFailed("dicom", [_told(line) for line in found.refused], do="bring files that hold pictures")
        if listed.others:
            message = f"{listed.others} file(s) beside the DICOM files are no DICOM and were left out"
            found.notes.append(Problem(kind="beside-dicom", message=message))
        yield replace(origin, place=replace(origin.place, images=folder / "images", unpacked=True)), found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def index_decoded(root: Path, found: Decoded) -> ImageIndex:
    """Return the index that finds a picture by its file's name in the user's folder."""
    return ImageIndex(root, {name: root / name for name in found.images}, found.problems, found.called)


def _told(line: str) -> Problem:
    name, _, what = line.partition(": ")
    return Problem(kind="not-used", message=what, source=Source(file=name))
