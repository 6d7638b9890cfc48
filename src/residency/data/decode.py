"""A folder of DICOM files in; its de-identified pictures in a hidden folder, found by the files' names, out."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from residency.data.index import ENDINGS, ImageIndex
from residency.data.material import Origin
from residency.dicom.folder import Settings, holds_dicom, list_folder
from residency.dicom.pictures import Decoded, write_pictures
from residency.errors import CheckFailed
from residency.files import hidden_folder
from residency.types import Problem, Source

FROM_FILE = "dicom"
"""The grouping by the patient that each DICOM file names."""


def is_dicom_folder(images: Path) -> bool:
    """Tell whether a folder holds DICOM files; files that are named as pictures are not opened."""
    return holds_dicom(images, ENDINGS)


@contextmanager
def decoded(
    origin: Origin, out: Path, settings: Settings
) -> Iterator[tuple[Origin, Decoded | None, Sequence[Problem]]]:
    """Yield the source with its DICOM files as PNGs in a hidden folder beside `out`, gone when the block ends.

    Sources without DICOM are yielded as they are, with None; and so are plain pictures among which lie files that are
    called DICOM and cannot be used, with what is wrong with each.

    Raises:
        MissingExtra: pydicom, a decoder or RapidOCR is not installed.
        CheckFailed: `dicom`: no file can be used.
        UserError: no folder can be made.
    """
    if origin.place.unpacked or not is_dicom_folder(origin.place.images):
        yield origin, None, ()
        return
    listed = list_folder(origin.place.images)
    folder = hidden_folder(out)
    try:
        (folder / "images").mkdir()
        found = write_pictures(listed.files, folder / "images", settings)
        if not found.images:
            if not any(name.lower().endswith(ENDINGS) for name in listed.others):
                raise CheckFailed("dicom", found.refused, do="bring files that hold pictures")
            yield origin, None, found.refused
            return
        _note_others(listed.others, found, settings)
        if unnamed := len({one.sha256 for one in found.images.values() if one.patient is None}):
            message = f"{unnamed} file(s) name no patient: their study is their group"
            found.notes.append(Problem(kind="no-patient", message=message))
        yield replace(origin, place=replace(origin.place, images=folder / "images", unpacked=True)), found, ()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def index_decoded(folder: Path, pictures: Path, found: Decoded) -> ImageIndex:
    """Return the index that finds a picture by its file's name in the user's folder."""
    return ImageIndex(folder, {name: pictures / name for name in found.images}, found.problems, found.called)


def _note_others(others: Sequence[str], found: Decoded, settings: Settings) -> None:
    """Note files beside DICOM: plain pictures each, since a sheet may name them, and the number of all others."""
    pictures = [name for name in others if name.lower().endswith(ENDINGS)]
    for name in pictures:
        hidden = settings.veil.name("file", name)
        message = "is a plain picture beside DICOM files: ingest it from a folder of its own"
        found.problems.append(Problem(kind="beside-dicom", message=message, source=Source(file=hidden)))
        found.called[hidden] = (name,)
    if left := len(others) - len(pictures):
        message = f"{left} file(s) beside the DICOM files are no DICOM and were left out"
        found.notes.append(Problem(kind="beside-dicom", message=message))
