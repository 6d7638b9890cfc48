"""A JSON file in, its value out once for all who look at it; and what is wrong with a record that lacks something."""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from residency.data.sheet import decode_text, read_source
from residency.errors import UserError
from residency.types import Problem, Source


def list_json(sheet: Path | None, images: Path) -> list[Path]:
    """Return the JSON files that may hold answers: the one named, or those that lie in the folder named."""
    if sheet is not None:
        return [sheet] if sheet.suffix.lower() == ".json" else []
    return sorted(path for path in images.iterdir() if path.suffix.lower() == ".json") if images.is_dir() else []


def read_values(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        UserError: it cannot be opened, or is no JSON (cut short, for example); the place is named.
    """
    status = path.stat() if path.is_file() else None
    return _read_values(path, status and (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _read_values(path: Path, stamp: tuple[int, int] | None) -> Any:
    try:
        return json.loads(decode_text(read_source(path)))
    except (json.JSONDecodeError, RecursionError) as error:
        do = "fetch the file again: it was cut short, or is not what its name says"
        raise UserError(f"{path} is no JSON", found=error, do=do, exit_code=1) from None


def lacks(record: object, keys: Iterable[str], place: Source) -> Problem | None:
    """Return the problem of a record that is no object, or has nothing under a key that it must have."""
    if not isinstance(record, dict):
        return Problem(kind="bad-line", message=f"no object: {str(record)[:60]}", source=place)
    missing = [key for key in keys if record.get(key) in (None, "")]
    return Problem(kind="bad-line", message=f"no {' and no '.join(missing)}", source=place) if missing else None
