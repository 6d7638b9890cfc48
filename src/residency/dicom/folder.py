"""A folder of DICOM files in; each file read apart, de-identified and cleared of text, or the reason why not, out."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from residency.dicom.apart import Apart
from residency.dicom.burned import Burned, TextReader
from residency.dicom.header import LIMITS, Limits, Refused, is_dicom, prepare_pydicom
from residency.dicom.read import Reading, clear_raw
from residency.dicom.veil import Veil
from residency.errors import UserError
from residency.files import walk_folder
from residency.progress import track

NAMED = (".dcm", ".dicom", ".ima")
"""Endings of files that say they are DICOM; any other file is known by its first bytes."""
_START = 132
_CORES = 4


@dataclass(frozen=True)
class Settings:
    """How files are read: names by `veil`, text as `burned` says, at most so many frames of a clip (None: all)."""

    veil: Veil
    burned: Burned = "mask"
    most: int | None = None
    limits: Limits = LIMITS


@dataclass(frozen=True)
class Listed:
    """The files of a folder: DICOM by their path below it, in order, and the paths of all others."""

    files: dict[str, Path]
    others: tuple[str, ...]


def list_folder(root: Path) -> Listed:
    """Find the DICOM files at any depth; links are not followed out of the folder.

    Raises:
        UserError: the folder, or one in it, cannot be listed.
    """
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise UserError(f"no folder of DICOM files {root}", found=found, do="name the folder that holds the files")

    files: dict[str, Path] = {}
    others = []
    inside = root.resolve()
    for folder, names in walk_folder(root):
        for name in names:
            path = folder / name
            if name.startswith(".") or name.upper() == "DICOMDIR" or not path.resolve().is_relative_to(inside):
                continue
            if not path.is_file():
                continue
            below = path.relative_to(root).as_posix().encode("utf-8", "replace").decode()
            if name.lower().endswith(NAMED) or _begins_so(path):
                files[below] = path
            else:
                others.append(below)
    return Listed(files, tuple(others))


def holds_dicom(root: Path, passed: tuple[str, ...] = ()) -> bool:
    """Tell whether a DICOM file lies in the folder; files with the endings `passed` are not opened."""
    for folder, _, names in os.walk(root):
        for name in names:
            lower = name.lower()
            if lower.endswith(NAMED) or (not lower.endswith(passed) and _begins_so(Path(folder, name))):
                return True
    return False


def read_folder(files: dict[str, Path], settings: Settings) -> Iterator[tuple[str, Path, Reading | Refused]]:
    """Yield each file's name, path, and what it holds or why it is refused.

    Raises:
        MissingExtra: pydicom, a decoder or RapidOCR is not installed.
    """
    prepare_pydicom()
    # A core is left to the process that decodes.
    threads = max(1, min(_CORES, (os.cpu_count() or 1) - 1))
    reader = None if settings.burned == "keep" else TextReader(threads)
    with ExitStack() as stack:
        apart = stack.enter_context(Apart())
        for name, path in track(list(files.items()), "reading DICOM files"):
            try:
                raw = apart.read_raw(path, settings.limits, settings.veil, settings.most)
                found: Reading | Refused = clear_raw(raw, reader, settings.burned)
            except Refused as refusal:
                found = refusal
            yield name, path, found


def _begins_so(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(_START))
    except OSError:
        return False
