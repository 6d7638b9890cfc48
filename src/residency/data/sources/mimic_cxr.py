"""Radiology reports in free text in, `<DETAILED_CAPTION>` (findings) and `<CAPTION>` (impression) lines out.

MIMIC-CXR's layout (Johnson et al. 2019): `pN/sM.txt` and the study's images in `pN/sM/`, with its split table; or a
table that names an image and holds a report, or `findings` and `impression`, in a row.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from residency.data.columns import by_role, match_columns
from residency.data.index import ENDINGS
from residency.data.lines import Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.reports import split_of_name
from residency.data.sheet import TEXTS, cell_text, decode_text, read_sheet, read_source
from residency.data.wording import split_words
from residency.types import Problem, Question, Questionnaire, Source, SplitName

HOLDS = "reports in free text: MIMIC-CXR (pN/sM.txt, images in pN/sM/), or a table of image and report"
_TASKS = {"findings": "<DETAILED_CAPTION>", "impression": "<CAPTION>"}
_SECTIONS = {
    "findings": "findings", "finding": "findings", "findings and impression": "findings", "body of report": "findings",
    "impression and findings": "findings", "findings impression": "findings", "chest findings": "findings",
    "impression": "impression", "conclusion": "impression", "conclusions": "impression", "opinion": "impression",
    "summary": "impression",
}  # fmt: skip
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/&()\-]{2,60}):", re.M)
_TEXT = ("report", "report text", "text")
_STUDY = re.compile(r"s\d+")
_BLANK = "___"
_QUESTIONNAIRE = Questionnaire(
    name="reports",
    questions=tuple(
        Question(id=token.strip("<>").lower(), type="text", wording=token) for token in reversed(_TASKS.values())
    ),
)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where MIMIC-CXR's files lie, None where there are none."""
    if sheet is not None or not images.is_dir():
        return None
    texts = sorted(path for path in images.rglob("s*.txt") if _STUDY.fullmatch(path.stem))
    tables = sorted(images.glob("*split*.csv"))
    return Place((*texts, *tables), images) if texts else None


def find_named(sheet: Path | None, images: Path) -> Place | None:
    """Return where any reports lie: MIMIC-CXR's, or the table that is named."""
    table = sheet is not None and (sheet.suffix.lower() in TEXTS or sheet.suffix.lower() == ".xlsx")
    return Place((sheet,), images) if sheet and table else find(sheet, images)


def read(place: Place) -> Reading:
    """Read every report; one without findings and without impression is a flag, its images stay without an answer."""
    reading = Reading(
        questionnaire=_QUESTIONNAIRE,
        taken=tuple(f"{section} -> {token}" for section, token in _TASKS.items()),
    )
    tables = [path for path in place.files if path.suffix == ".csv" and "split" in path.stem]
    if len(place.files) == 1 and not _STUDY.fullmatch(place.files[0].stem):
        reading.lines = list(_read_table(place.files[0], reading))
        return reading
    reading.splits = {name: split for path in tables for name, split in _read_splits(path)}
    for path in place.files:
        if path.suffix == ".txt":
            source = Source(file=str(path))
            told = _tell(decode_text(read_source(path)), source, reading)
            pictures = sorted(p for p in path.with_suffix("").glob("*") if p.suffix.lower() in ENDINGS)
            if not pictures:
                message = f"no image in {path.with_suffix('').name}/"
                reading.problems.append(Problem(kind="missing-image", message=message, source=source))
            for picture in pictures:
                values = {
                    "image": picture.relative_to(place.images).as_posix(),
                    "patient": path.parent.name,
                    "study": path.stem,
                }
                reading.lines += _lines(values, told, source)
    return reading


def split_report(text: str) -> dict[str, str]:
    """Return a report's findings and impression, as far as its headings name them, in plain lines."""
    sections: dict[str, str] = {}
    found = list(_HEADING.finditer(text))
    for heading, following in zip_longest(found, found[1:]):
        name = _SECTIONS.get(" ".join(split_words(heading[1].replace("/", " and "))))
        body = plain_text(" ".join(text[heading.end() : following.start() if following else None].split()))
        if name and body:
            sections[name] = f"{sections[name]} {body}" if name in sections else body
    return sections


def _tell(text: str, source: Source, reading: Reading) -> dict[str, str]:
    """Return what a report tells by section, and flag what a reader should know of it."""
    told = split_report(text)
    if not told:
        message = "the report has no findings and no impression: its images stay without an answer"
        reading.flags.append(Problem(kind="no-section", message=message, source=source))
    if any(_BLANK in body for body in told.values()):
        message = "the report holds blanks (___) where names or dates were removed: a model will learn to write them"
        reading.flags.append(Problem(kind="blank", message=message, source=source))
    return told


def _lines(values: Mapping[str, object], told: Mapping[str, str], source: Source) -> Iterator[Line]:
    """Yield a line for each section; without any, one that leaves the image unanswered."""
    for section, token in _TASKS.items():
        if section in told:
            yield Line(source, {**values, "prefix": token, "suffix": told[section]})
    if not told:
        yield Line(source, {**values, "prefix": _TASKS["findings"], "suffix": None})


def _read_table(path: Path, reading: Reading) -> Iterator[Line]:
    """Yield the lines of a table's rows: `findings` and `impression`, else the sections of `report`."""
    table = read_sheet(path)[0][0]
    columns, problems = match_columns(
        table, Questionnaire(name="-", questions=(Question(id="-", type="text", wording="-"),))
    )
    reading.problems += problems
    roles = by_role(columns)
    named = {" ".join(split_words(column.heading)): column for column in columns}
    texts = [named[name] for name in _TEXT if name in named]
    for number, cells in table.rows:
        source = table.source(number)
        values = {column.heading: plain_text(cell_text(cells.get(column.number))) for column in columns}
        parts = {name: values.pop(named[name].heading) for name in _TASKS if name in named}
        told = {name: body for name, body in parts.items() if body}
        for column in texts:
            values.pop(column.heading)
            if not told:
                told = _tell(cell_text(cells.get(column.number)), source, reading)
        values |= {role: values[column.heading] for role, column in roles.items() if column.heading in values}
        yield from _lines(values, told, source)


def _read_splits(path: Path) -> Iterator[tuple[str, SplitName]]:
    """Yield each image's file name and split from MIMIC-CXR-JPG's table (dicom_id, study_id, subject_id, split)."""
    table = read_sheet(path)[0][0]
    numbers = {" ".join(split_words(heading)): number for number, heading in table.headings.items()}
    for _, cells in table.rows:
        split = split_of_name(cell_text(cells.get(numbers.get("split", 0))))
        if split and "dicom id" in numbers:
            yield f"{cell_text(cells.get(numbers['dicom id']))}.jpg", split
