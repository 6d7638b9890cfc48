"""A table of image and label in, the table with the questions that its labels answer out.

ChestX-ray14 (Wang et al. 2017: `Image Index`, `Finding Labels`) and APTOS 2019 (`id_code`, `diagnosis`) are known by
their headings; of any other table `--question "COLUMN: WORDS"` says which column answers what.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from residency.data.lines import Place, Reading
from residency.data.quantity import plain_text
from residency.data.reports import split_of_name
from residency.data.sheet import BOOKS, TEXTS, Table, cell_text, decode_text, read_sheet, read_source
from residency.data.wording import split_words
from residency.errors import UserError
from residency.types import Option, Problem, Question, Questionnaire, SplitName

HOLDS = 'tables of image and label: ChestX-ray14, APTOS; any other with --question "COLUMN: What is asked?"'
_MAX_LABELS = 60
_PEEK = 4000
_BETWEEN = "|"
_RETINA = ("no", "mild", "moderate", "severe", "proliferative")
_KNOWN: dict[tuple[str, str], Question] = {
    ("image index", "finding labels"): Question(
        id="findings", type="set", wording="Findings: Which findings does this chest X-ray show?"
    ),
    ("id code", "diagnosis"): Question(
        id="retinopathy",
        type="ordinal",
        wording="Retinopathy: How severe is the diabetic retinopathy in this picture of the retina?",
        options=tuple(
            Option(name=f"{name} diabetic retinopathy", synonyms=(str(grade), name))
            for grade, name in enumerate(_RETINA)
        ),
    ),
}
"""Headings of image and label, and what is asked; without options, these are the labels that the table holds."""
_NOTHING = {("no", "finding"), ("none",), ("normal",)}
_LISTS = ("train_val_list.txt", "test_list.txt")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is no table of known headings."""
    place = find_named(sheet, images)
    if place is None or place.files[0].suffix.lower() not in TEXTS or not place.files[0].is_file():
        return None
    with place.files[0].open("rb") as file:  # the headings alone: a large sheet is not read twice
        first = decode_text(file.read(_PEEK)).split("\n")[0]
    headings = {" ".join(split_words(cell)) for cell in re.split(r"[,;\t]", first)}
    return place if any({*pair} <= headings for pair in _KNOWN) else None


def find_named(sheet: Path | None, images: Path) -> Place | None:
    """Return where any table lies: the sheet named, or the one table in the folder of images."""
    endings = (*BOOKS, *TEXTS[:2])
    folder = sorted(images.iterdir()) if sheet is None and images.is_dir() else []
    tables = [path for path in (folder if sheet is None else [sheet]) if path.suffix.lower() in endings]
    if len(tables) != 1:
        return None
    lists = [path for name in _LISTS if (path := tables[0].parent / name).is_file()]
    return Place((tables[0], *lists), images)


def read(place: Place) -> Reading:
    """Read the table; its labels become the options of the questions asked.

    Raises:
        UserError: no column is known to hold labels, or one holds too many different ones, or one alone.
    """
    tables, flags = read_sheet(place.files[0])
    table = tables[0]
    known = _find_known(table)
    if place.questions:
        questions = [_ask(table, text) for text in place.questions]
    elif known:
        questions = [known]
    else:
        raise UserError(
            f"{table.source()}: which column holds the labels?",
            allowed=_headings(table),
            do='name it, and what is asked: --question "COLUMN: Which disease does this image show?"',
        )
    filled = tuple(_fill(table, question) for question in questions)
    problems = _find_contradictions(table, filled)
    wrong = {problem.source for problem in problems}
    rows = [row for row in table.rows if table.source(row[0]) not in wrong]
    splits = {name: split for path in place.files[1:] for name, split in _read_list(path).items()}
    questionnaire = Questionnaire(name="labels", title="Labels of images, asked for in words", questions=filled)
    return Reading([], problems, flags, questionnaire, tables=[replace(table, rows=rows)], splits=splits)


def _find_known(table: Table) -> Question | None:
    headings = {" ".join(split_words(heading)): heading for heading in table.headings.values()}
    for (image, label), question in _KNOWN.items():
        if image in headings and label in headings:
            return question.model_copy(update={"headings": (headings[label],)})
    return None


def _ask(table: Table, text: str) -> Question:
    """Return the question that `COLUMN: WORDS` asks."""
    column, colon, wording = text.partition(":")
    heading = {split_words(heading): heading for heading in table.headings.values()}.get(split_words(column))
    if not colon or not wording.strip() or heading is None:
        raise UserError(
            f"--question `{text}` names no column of {table.source()}",
            allowed=_headings(table),
            do='write the column, a colon, and what is asked: --question "diagnosis: Which disease is shown?"',
        )
    id = "-".join(split_words(column))
    return Question(id=id, type="text", wording=wording.strip(), headings=(heading,))


def _fill(table: Table, question: Question) -> Question:
    """Return the question with the labels of its column as options: a set where a cell holds several, else a choice."""
    if question.options:
        return question
    number = next(n for n, heading in table.headings.items() if heading == question.headings[0])
    cells = [plain_text(cell_text(row[number])) for _, row in table.rows if number in row]
    several = any(_BETWEEN in cell for cell in cells)
    counts: Counter[str] = Counter()
    spelled: dict[tuple[str, ...], str] = {}
    for cell in cells:
        for label in cell.split(_BETWEEN) if several else (cell,):
            if label.strip():
                counts[spelled.setdefault(split_words(label), label.strip())] += 1
    if not 2 <= len(counts) <= _MAX_LABELS:
        raise UserError(
            f"column `{question.headings[0]}` of {table.source()} holds no labels",
            found=f"{len(counts)} different texts, such as {', '.join(name[:30] for name in [*counts][:3])}",
            allowed=f"2 to {_MAX_LABELS} labels, several in a cell parted by {_BETWEEN}",
            do="name another column",
        )
    options = tuple(Option(name=name) for name in sorted(counts))
    return question.model_copy(update={"type": "set" if several else "choice", "options": options})


def _find_contradictions(table: Table, questions: Sequence[Question]) -> list[Problem]:
    """Return a problem for each row that says `No Finding` beside a finding."""
    problems = []
    numbers = {heading: number for number, heading in table.headings.items()}
    for question in questions:
        column = numbers[question.headings[0]]
        for row, cells in table.rows:
            labels = {split_words(label) for label in cell_text(cells.get(column)).split(_BETWEEN)}
            if len(labels) > 1 and labels & _NOTHING:
                message = f"`{cells[column]}` says nothing was found, and what"
                problems.append(Problem(kind="contradiction", message=message, source=table.source(row)))
    return problems


def _read_list(path: Path) -> dict[str, SplitName]:
    """Return the split of each image that a published list names (`train_val` counts as train)."""
    split = split_of_name(path.stem.replace("_list", "").partition("_")[0]) or "train"
    return dict.fromkeys(read_source(path).decode("utf-8", "replace").split(), split)


def _headings(table: Table) -> Sequence[str]:
    return [" ".join(heading.split())[:40] for heading in table.headings.values()]
