"""Path-VQA in, questions about pathology images with their answers out (He et al. 2020, arXiv 2003.10286).

As the hub publishes it (flaviagiammarino/path-vqa, Hugging Face's image layout): parquet files named by split, each row
an `image` {bytes, path}, a `question`, an `answer`. The pictures are unpacked into the dataset, each once, under the
hash of its bytes. Yes/no answers become a choice, all others text.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from residency.data.lines import EACH_ASKS, Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.reports import split_of_name
from residency.errors import MissingExtra, UserError
from residency.progress import track
from residency.types import Option, Problem, Question, Questionnaire, Source

HOLDS = "Path-VQA, as on the hub: data/train-*.parquet with image, question and answer (needs residency[parquet])"
LINES = "lines.jsonl"
_COLUMNS = ("image", "question", "answer")
_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp"}
_QUESTIONS = Questionnaire(
    name="path-vqa",
    title="Questions about pathology images, each in its own words",
    questions=(
        Question(id="closed", type="choice", wording=EACH_ASKS, options=(Option(name="yes"), Option(name="no"))),
        Question(id="open", type="text", wording=EACH_ASKS),
    ),
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout.

    Raises:
        MissingExtra: pyarrow, which reads parquet, is not installed.
        UserError: a parquet file that is damaged.
    """
    if sheet is not None or not images.is_dir():
        return None
    files = [*sorted(images.glob("*.parquet")), *sorted((images / "data").glob("*.parquet"))]
    files = [path for path in files if split_of_name(path.stem)]
    if not files or not {*_COLUMNS} <= {*_open_parquet(files[0]).schema_arrow.names}:
        return None
    return Place(tuple(files), images)


def unpack(place: Place, folder: Path, limit: int | None, seed: int) -> Place:
    """Write the pictures to `folder`/images, and a line a row beside; of `limit` rows, drawn by the seed.

    Raises:
        UserError: a parquet file that is damaged, or lacks a column.
    """
    (folder / "images").mkdir(parents=True)
    counts = [_open_parquet(path).metadata.num_rows for path in place.files]
    total = sum(counts)
    kept = np.ones(total, dtype=bool)
    if limit is not None and limit < total:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(total, limit, replace=False)] = True
    starts = np.cumsum([0, *counts])
    with (folder / LINES).open("w", encoding="utf-8") as lines:
        for path, start in zip(place.files, starts, strict=False):
            rows = track(_read_rows(path), f"unpacking {path.name}", total=_open_parquet(path).metadata.num_rows)
            for number, row in enumerate(rows):
                if kept[start + number]:
                    named = {"file": str(path), "row": number + 1, "image": _write_picture(row["image"], folder)}
                    lines.write(json.dumps(named | {key: row[key] for key in _COLUMNS[1:]}, ensure_ascii=False) + "\n")
    return replace(place, images=folder / "images", unpacked=True)


def read(place: Place) -> Reading:
    """Read the lines that were unpacked; one without a picture, question or answer is a problem."""
    reading = Reading(
        questionnaire=_QUESTIONS,
        taken=("`question` -> prompt", "`answer` -> answer", "the file's name -> split"),
        whole=True,
    )
    with (place.images.parent / LINES).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            source = Source(file=row["file"], cell=f"row {row['row']}")
            told = {key: plain_text(str(row[key])) if row[key] is not None else "" for key in _COLUMNS}
            if lacking := [key for key in _COLUMNS if not told[key]]:
                message = f"no {' and no '.join(lacking)} that can be read"
                reading.problems.append(Problem(kind="bad-line", message=message, source=source))
                continue
            values = {"image": told["image"], "prefix": told["question"], "suffix": told["answer"]}
            closed = told["answer"].casefold().strip(" .") in ("yes", "no")
            split = split_of_name(Path(row["file"]).stem)
            reading.lines.append(Line(source, values, split, "closed" if closed else "open"))
    return reading


def _read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file, a few in memory at a time."""
    for batch in _open_parquet(path).iter_batches(batch_size=64, columns=list(_COLUMNS)):
        yield from batch.to_pylist()


def _write_picture(image: Mapping[str, Any] | None, folder: Path) -> str | None:
    """Write a picture's bytes as they are, under their hash; return its name, None where there is no picture."""
    data = image and image.get("bytes")
    if not data:
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


def _open_parquet(path: Path) -> Any:
    parquet = _parquet()
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        do = "fetch the file again: it was cut short, or is a pointer of git-lfs"
        raise UserError(f"{path} is no parquet file", found=str(error).splitlines()[0], do=do, exit_code=1) from None


def _parquet() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("pyarrow", "parquet") from None
    return pyarrow.parquet
