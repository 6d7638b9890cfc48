"""Datasets of the Hugging Face hub, as they lie on disk, in; questions, conversations or captions as lines out.

Parquet files, or the Arrow files of `save_to_disk`, whose rows hold an image and: a question and an answer; or
`conversations` (LLaVA, Vision-FLAN); or a caption (LAION style, `<CAPTION>`). Yes/no answers become a choice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from residency.data.lines import IN_WORDS, YES_OR_NO, Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.sources import path_vqa
from residency.data.sources.boxes import split_of_parts
from residency.data.sources.packed import columns_of, unpack_rows, unpacked_rows
from residency.errors import UserError
from residency.types import Problem, Question, Questionnaire, Source

HOLDS = (
    "datasets of the hub on disk: parquet or save_to_disk, rows of image and question/answer, conversations or caption"
)
CAPTION = "<CAPTION>"
_IMAGE = ("image", "img", "picture", "jpg", "png")
_ASKED = ("question", "prompt", "query", "instruction")
_ANSWERED = ("answer", "response", "output", "label")
_TURNS = ("conversations", "messages")
_CAPTIONS = ("caption", "TEXT", "text", "report")
QUESTIONS = (
    YES_OR_NO,
    IN_WORDS,
    Question(id="caption", type="text", wording=CAPTION),
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout, or is Path-VQA's."""
    return None if path_vqa.find(sheet, images) else find_named(sheet, images)


def find_named(sheet: Path | None, images: Path) -> Place | None:
    """Return where any rows with images lie.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    if sheet is not None or not images.is_dir():
        return None
    files = sorted(path for ending in ("parquet", "arrow") for path in images.rglob(f"*.{ending}"))
    return Place(tuple(files), images) if files and _pick(columns_of(files[0])) else None


def unpack(place: Place, folder: Path, limit: int | None, seed: int) -> Place:
    """Write the pictures to `folder`/images, and a line a row beside; of `limit` rows, drawn by the seed."""
    picked = _pick(columns_of(place.files[0]))
    if picked is None:
        raise UserError(f"{place.files[0]} holds no rows with images", allowed=HOLDS)
    return unpack_rows(place, folder, limit, seed, picked[0], picked[1])


def read(place: Place) -> Reading:
    """Read the lines that were unpacked; one without a picture, question or answer is a problem."""
    reading = Reading(whole=True)
    for row in unpacked_rows(place):
        source = Source(file=row["file"], cell=f"row {row['row']}")
        pairs = list(read_pairs({key: value for key, value in row.items() if key not in ("file", "row", "image")}))
        lacking = [] if row["image"] else ["picture that can be read"]
        lacking += [] if pairs and all(map(all, pairs)) else ["question with its answer"]
        if lacking:
            message = f"no {' and no '.join(lacking)}"
            reading.problems.append(Problem(kind="bad-line", message=message, source=source))
            continue
        split = split_of_parts(Path(*Path(row["file"]).parts[-2:]).with_suffix(""))
        reading.lines += [asked_line(row["image"], asked, told, source, split) for asked, told in pairs]
    settle_reading(reading, "huggingface")
    return reading


def asked_line(image: str, asked: str, told: str, source: Source, split: Any) -> Line:
    """Return the line of one question and answer, under the question that it belongs to."""
    closed = told.casefold().strip(" .") in ("yes", "no")
    question = "caption" if asked == CAPTION else "closed" if closed else "open"
    return Line(source, {"image": image, "prefix": asked, "suffix": told}, split, question)


def settle_reading(reading: Reading, name: str) -> None:
    """Give the reading the questions that its lines ask."""
    asked = {line.question for line in reading.lines}
    questions = tuple(question for question in QUESTIONS if question.id in asked)
    if questions:
        reading.questionnaire = Questionnaire(name=name, questions=questions)
    reading.taken = ("rows -> questions and answers, or captions", "the file's or folder's name -> split")


def read_pairs(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each question and answer of a row; a caption answers `<CAPTION>`."""
    if turns := next((row[key] for key in _TURNS if key in row), None):
        said = [(str(t.get("from") or t.get("role")), _text(t.get("value") or t.get("content"))) for t in turns]
        said = [turn for turn in said if turn[0] != "system"]
        for (_, question), (_, answer) in zip(said[::2], said[1::2], strict=False):
            yield question or CAPTION, answer
        return
    asked, told, caption = (
        next((_text(row[key]) for key in keys if key in row), None) for keys in (_ASKED, _ANSWERED, _CAPTIONS)
    )
    if asked is not None and told is not None:
        yield asked, told
    elif caption is not None:
        yield CAPTION, caption


def _pick(columns: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the column of images and those that are told, None where rows hold no such thing."""
    image = next((name for name in _IMAGE if name in columns), None)
    asked, told = (next((name for name in names if name in columns), None) for names in (_ASKED, _ANSWERED))
    turns, caption = (next((name for name in names if name in columns), None) for names in (_TURNS, _CAPTIONS))
    picked = [turns] if turns else [asked, told] if asked and told else [caption]
    if image is None or None in picked:
        return None
    return image, [name for name in picked if name]


def _text(value: object) -> str:
    """Return a turn's or cell's text without the mark of the image; of a list of answers the first."""
    if isinstance(value, list):
        value = next(iter(value), "")
    text = value.get("text", "") if isinstance(value, dict) else value
    return plain_text("" if text is None else str(text).replace("<image>", " "))
