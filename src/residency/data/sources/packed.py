"""Files that hold rows and their pictures within (parquet, Arrow) in; pictures in a folder and a line a row out.

Read by pyarrow, a few rows in memory at a time. A picture is written once, as it is, under the hash of its bytes.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from residency.data.lines import Place
from residency.errors import MissingExtra, UserError
from residency.progress import track

LINES = "lines.jsonl"
_BATCH = 64
_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp"}


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the names of a file's columns.

    Raises:
        MissingExtra: pyarrow is not installed.
        UserError: a damaged file.
    """
    opened = _open(path)
    return tuple((opened.schema if path.suffix == ".arrow" else opened.schema_arrow).names)


def count_rows(path: Path) -> int:
    """Return how many rows a file has."""
    opened = _open(path)
    return sum(batch.num_rows for batch in opened) if path.suffix == ".arrow" else opened.metadata.num_rows


def unpack_rows(place: Place, folder: Path, limit: int | None, seed: int, image: str, told: Sequence[str]) -> Place:
    """Write the pictures of a column to `folder`/images, the columns `told` to lines; of `limit` rows, drawn by seed.

    Raises:
        UserError: a file that is damaged, or lacks a column.
    """
    (folder / "images").mkdir(parents=True)
    counts = [count_rows(path) for path in place.files]
    total = sum(counts)
    kept = np.ones(total, dtype=bool)
    if limit is not None and limit < total:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(total, limit, replace=False)] = True
    starts = np.cumsum([0, *counts])
    with (folder / LINES).open("w", encoding="utf-8") as lines:
        for path, start, count in zip(place.files, starts, counts, strict=False):
            rows = track(_read_rows(path, [image, *told]), f"unpacking {path.name}", total=count)
            for number, row in enumerate(rows):
                if kept[start + number]:
                    named = {"file": str(path), "row": number + 1, "image": _write_picture(row[image], folder)}
                    lines.write(json.dumps(named | {key: row[key] for key in told}, ensure_ascii=False, default=str))
                    lines.write("\n")
    return replace(place, images=folder / "images", unpacked=True)


def unpacked_rows(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the lines that were unpacked: `file`, `row`, `image` (None: no picture to be read) and the columns."""
    with (place.images.parent / LINES).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _read_rows(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if lost := {*columns} - {*columns_of(path)}:
        raise UserError(f"{path} lacks columns that the first file has", found=columns_of(path), allowed=sorted(lost))
    opened = _open(path)
    if path.suffix == ".arrow":
        for batch in opened:
            for start in range(0, batch.num_rows, _BATCH):
                yield from batch.slice(start, _BATCH).select(list(columns)).to_pylist()
    else:
        for batch in opened.iter_batches(batch_size=_BATCH, columns=list(columns)):
            yield from batch.to_pylist()


def _write_picture(image: Mapping[str, Any] | bytes | None, folder: Path) -> str | None:
    """Write a picture's bytes as they are, under their hash; return its name, None where there is no picture."""
    data = image.get("bytes") if isinstance(image, Mapping) else image
    if not isinstance(data, bytes) or not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as picture:
            ending = _ENDINGS.get(picture.format or "")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    if ending is None:
        return None
    name = hashlib.sha256(data).hexdigest()[:20] + ending
    if not (folder / "images" / name).exists():
        (folder / "images" / name).write_bytes(data)
    return name


def _open(path: Path) -> Any:
    """Open a parquet file, or an Arrow stream as `datasets` saves it to disk."""
    arrow = _pyarrow()
    try:
        if path.suffix == ".arrow":
            return arrow.ipc.open_stream(arrow.memory_map(str(path)))
        return arrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        what = f"{path} is no {'Arrow' if path.suffix == '.arrow' else 'parquet'} file"
        do = "fetch the file again: it was cut short, or is a pointer of git-lfs"
        raise UserError(what, found=str(error).splitlines()[0], do=do, exit_code=1) from None


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    return pyarrow
