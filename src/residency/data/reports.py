"""A report folder in (images/ and lines by split and task, named either way round), lines with their split out."""

import re
from pathlib import Path

from residency.data.jsonl import read_jsonl
from residency.data.lines import Line
from residency.errors import UserError
from residency.types import Problem, SplitName

_SPLITS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_IMAGES = ("images", "image", "imgs", "img")
_LINES = ("", "annotations", "annotation", "labels", "jsonl")


def is_report_folder(folder: Path) -> bool:
    """Say whether the folder holds lines of a split (`train.jsonl`, `detailed_caption_train.jsonl` ...)."""
    return folder.is_dir() and bool(_files(folder))


def image_folder(folder: Path) -> Path:
    """Return where the report folder's images lie."""
    return next((folder / name for name in _IMAGES if (folder / name).is_dir()), folder)


def list_lines(folder: Path) -> list[Path]:
    """Return the folder's files of lines."""
    return [path for path, _ in _files(folder)]


def read_reports(folder: Path) -> tuple[list[Line], list[Problem]]:
    """Read all lines of all splits; return them and the problems with lines.

    Raises:
        UserError: no file is named for the training split.
    """
    files = _files(folder)
    if "train" not in {split for _, split in files}:
        raise UserError(
            f"{folder} has no training lines",
            found=[path.name for path, _ in files],
            allowed=["train.jsonl", "train_detailed_caption.jsonl", "detailed_caption_train.jsonl"],
        )
    lines, problems = [], []
    for path, split in files:
        more, wrong = read_jsonl(path, split)
        lines += more
        problems += wrong
    return lines, problems


def split_of_name(stem: str) -> SplitName | None:
    """Return the split that a file's name begins or ends with."""
    words = [word for word in re.split(r"[\s_\-.]+", stem.lower()) if word]
    for word in (words[0], words[-1]) if words else ():
        if word in _SPLITS:
            return _SPLITS[word]
    return None


def _files(folder: Path) -> list[tuple[Path, SplitName]]:
    found = []
    for name in _LINES:
        place = folder / name if name else folder
        if place.is_dir():
            for path in sorted(place.iterdir()):
                split = split_of_name(path.stem)
                if path.suffix.lower() == ".jsonl" and split:
                    found.append((path, split))
    return found
