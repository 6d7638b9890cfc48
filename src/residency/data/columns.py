"""A table's headings and a questionnaire in, what each column holds out: a role, a question, or a column kept as it is.

Matching is lenient (case, spaces, `Q3: Imaging Plane`, short headings, wordings) and all of it is shown to the user.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rapidfuzz import fuzz

from residency.data.sheet import Table, column_letters
from residency.data.wording import split_words
from residency.types import Problem, Question, Questionnaire

Role = Literal[
    "image", "patient", "study", "category", "annotator", "spacing", "row spacing", "column spacing", "machine", "site",
    "age", "sex", "question", "kept",
]  # fmt: skip
_HEADINGS: dict[Role, str] = {
    "image": "image, image name, image file, file, filename, file name, image path, path, img, image id, imageid, "
    "image index, id code, 图像, 图片, 图像名, 文件名",
    "patient": "patient, patient id, patientid, patient number, subject, subject id, case, case id, mrn, "
    "患者, 病人, 患者编号",
    "study": "study, study id, exam, exam id, examination, accession, accession number, video, video id",
    "category": "category, class, organ, view category, image category, 类别",
    "annotator": "annotator, annotated by, reader, sonographer, rater, doctor, 医师, 医生, 标注者",
    "spacing": "spacing, spacing mm, pixel size, pixel size mm, pixel spacing, pixel spacing mm, mm per pixel",
    "row spacing": "row spacing, row spacing mm, pixel height, pixel height mm, spacing y, spacing y mm",
    "column spacing": "column spacing, column spacing mm, pixel width, pixel width mm, spacing x, spacing x mm",
    "machine": "machine, device, scanner, manufacturer, manufacturer model, ultrasound machine",
    "site": "site, hospital, center, centre, institution, clinic",
    "age": "age, patient age, maternal age, age years, 年龄",
    "sex": "sex, gender, patient sex, patient gender, 性别",
}
_ROLES: dict[str, Role] = {heading: role for role, headings in _HEADINGS.items() for heading in headings.split(", ")}
_NUMBERED = re.compile(r"\s*q(?:uestion)?\s*\.?\s*(\d+)\s*(?:[:.\-)\]]+\s*|\s+|$)(.*)", re.I | re.S)
_UNIT = re.compile(r"[(\[]\s*([^()\[\]]{1,12}?)\s*[)\]]\s*$")
_CLEAR, _MARGIN = 88, 5
"""A heading that fits a wording by at least 88 of 100, and better than any other question's by 5, is taken for it."""


@dataclass(frozen=True)
class Column:
    """What one column holds: its number (1 is A), heading as found, role, and for a question its id and unit."""

    number: int
    heading: str
    role: Role
    question: str | None = None
    unit: str | None = None

    def __str__(self) -> str:
        heading = " ".join(self.heading.split())
        shown = heading if len(heading) <= 48 else heading[:45] + "..."
        unit = f" in {self.unit}" if self.unit else ""
        return f"{column_letters(self.number)} `{shown}` -> {self.question or self.role}{unit}"


def match_columns(table: Table, questionnaire: Questionnaire) -> tuple[tuple[Column, ...], list[Problem]]:
    """Return what each column of the table holds, and what is wrong with its headings; of two alike one counts."""
    columns, problems = [], []
    for number, heading in sorted(table.headings.items()):
        column, problem = _match_heading(number, heading, questionnaire)
        columns.append(column)
        if problem:
            where = table.source(table.heading_row, number)
            problems.append(problem.model_copy(update={"source": where}))
    repeated = _repeated(columns)
    problems += [
        Problem(kind="duplicate-heading", message=message, source=table.source(table.heading_row, column.number))
        for column, message in repeated.items()
    ]
    return tuple(replace(c, role="kept", question=None) if c in repeated else c for c in columns), problems


def name_from(columns: Sequence[Column], wanted: str) -> Column | None:
    """Return the column that a user calls `wanted`: by heading, role or letters."""
    folded = split_words(wanted)
    for column in columns:
        if split_words(column.heading) == folded:
            return column
    named = [column for column in columns if column.role == _ROLES.get(" ".join(folded), "none")]
    return named[0] if len(named) == 1 else None


def by_role(columns: Sequence[Column]) -> Mapping[Role, Column]:
    """Return the column of each role that stands once (questions and kept columns aside)."""
    return {column.role: column for column in reversed(columns) if column.role not in ("question", "kept")}


def _match_heading(number: int, heading: str, questionnaire: Questionnaire) -> tuple[Column, Problem | None]:
    numbered = _NUMBERED.match(heading)
    ids = {question.id.casefold(): question for question in questionnaire.questions}
    if numbered and (named := ids.get(f"q{numbered[1]}")):
        said = match_question(numbered[2], questionnaire.questions)
        if said and said.id != named.id:
            message = f"the heading says {named.id}, its wording is {said.id}'s"
            return Column(number, heading, "kept"), Problem(kind="heading-conflict", message=message)
        return _question(number, heading, named), None
    if numbered:
        said = match_question(numbered[2], questionnaire.questions)
        if said:
            return _question(number, heading, said), None
        near = tuple(question.id for question in questionnaire.questions)
        message = f"`{' '.join(heading.split())}` is no question of {questionnaire.name}"
        return Column(number, heading, "kept"), Problem(kind="unknown-question", message=message, candidates=near)
    if exact := ids.get(" ".join(heading.casefold().split())):
        return _question(number, heading, exact), None
    said = match_question(heading, questionnaire.questions)
    if said:
        return _question(number, heading, said), None
    role = _ROLES.get(" ".join(split_words(heading))) or _ROLES.get(" ".join(split_words(_UNIT.sub("", heading))))
    return Column(number, heading, role or "kept"), None


def _question(number: int, heading: str, question: Question) -> Column:
    unit = _UNIT.search(heading) if question.type == "number" else None
    return Column(number, heading, "question", question.id, unit[1] if unit else None)


def match_question(heading: str, questions: Sequence[Question]) -> Question | None:
    """Return the question whose wording or short heading this is, exactly or by a clear margin."""
    words = " ".join(split_words(heading))
    if not words:
        return None
    ranked = []
    for question in questions:
        wordings = (question.wording, question.wording.partition(":")[0], *question.headings)
        folded = {" ".join(split_words(wording)) for wording in wordings}
        folded |= {" ".join(split_words(_UNIT.sub("", wording))) for wording in question.headings}
        if words in folded or " ".join(split_words(_UNIT.sub("", heading))) in folded:
            return question
        ranked.append((max(fuzz.ratio(words, wording) for wording in folded), question))
    ranked.sort(key=lambda item: -item[0])
    clear = ranked[0][0] >= _CLEAR and (len(ranked) == 1 or ranked[0][0] - ranked[1][0] >= _MARGIN)
    return ranked[0][1] if clear else None


def _repeated(columns: Sequence[Column]) -> dict[Column, str]:
    """Return the columns that hold what one before them holds (heading, role or question), and what to say of each."""
    firsts: dict[tuple[str, str], Column] = {}
    repeated = {}
    for column in columns:
        what = column.question or (" ".join(split_words(column.heading)) if column.role == "kept" else column.role)
        first = firsts.setdefault((column.role, what), column)
        if first is not column:
            heading = " ".join(column.heading.split())
            repeated[column] = f"`{heading}` holds {what}, as column {column_letters(first.number)} does"
    return repeated
