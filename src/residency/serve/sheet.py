"""Kept cases and reviews in; the next answer sheet out, which `residency ingest` takes back, or Label Studio's tasks.

A row is one reviewer's last word on one picture: what was accepted or edited in the questionnaire's words, what was
rejected empty. Pictures without a review get a row with their patient alone, so that no split tears one apart.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell

from residency.data.dataset import Dataset
from residency.data.studio import StudioSummary, write_tasks
from residency.errors import UserError
from residency.files import written_whole
from residency.questionnaire import render_answer
from residency.serve.reviews import Reviewed, last_words, list_reviewed
from residency.serve.store import IMAGES, CaseRow, Store
from residency.types import Answer, Prediction, Question, Questionnaire, Record, Sample


class Exported(Record):
    """What was written: rows (a picture and a reviewer each), answers, pictures, reviewers."""

    written: tuple[str, ...]
    rows: int
    answers: int
    pictures: int
    reviewers: int
    next_command: str = ""


@dataclass(frozen=True)
class Row:
    """One reviewer's (None: nobody's) last word on one picture, by question."""

    case: CaseRow
    author: str | None
    words: Mapping[str, Reviewed] = field(default_factory=dict)


def gather_rows(store: Store) -> list[Row]:
    """Return a row for each picture and reviewer, in order of first upload; of several cases the last one counts."""
    cases, _, reviews = store.list_rows()
    of_case = {case.id: case for case in cases}
    held = last_words(list_reviewed(reviews)).values()
    words: dict[tuple[str, str], dict[str, Reviewed]] = {}
    for word in sorted((word for word in held if word.question), key=lambda word: word.id):
        assert word.question is not None
        words.setdefault((of_case[word.case].image_sha256, word.author), {})[word.question] = word
    latest = {case.image_sha256: case for case in cases}
    rows = []
    for image, case in latest.items():
        own = [Row(case, author, said) for (of, author), said in words.items() if of == image]
        rows += own or [Row(case, None)]
    return rows


def make_sheet(rows: list[Row], questionnaire: Questionnaire) -> bytes:
    """Return the answer sheet as a workbook's bytes; every cell is text, none can be a formula."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("answers")
    spaced = any(row.case.spacing_row for row in rows)
    heads = ["Image", "Patient", "Annotator", *(["Row spacing mm", "Column spacing mm"] if spaced else [])]

    def text(value: object) -> Any:
        cell = WriteOnlyCell(sheet, "")
        cell.value = "" if value is None else str(value)
        cell.data_type = "s"
        return cell

    sheet.append([text(head) for head in (*heads, *map(head_question, questionnaire.questions))])
    for row in rows:
        known: list[object] = [f"{row.case.image_sha256}.png", row.case.patient, row.author]
        known += [row.case.spacing_row, row.case.spacing_column] if spaced else []
        said = [_say_exactly(q, row.words.get(q.id)) for q in questionnaire.questions]
        sheet.append([text(value) if value is not None else None for value in (*known, *said)])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _say_exactly(question: Question, word: Reviewed | None) -> str | None:
    """Return an answer as a cell: its numbers keep all their digits."""
    if word is None or word.answer is None:
        return None
    return render_answer(question, word.answer, word.parts, exact=True)


def head_question(question: Question) -> str:
    """Return a column's heading that ingest knows for this question, whatever its wording."""
    numbered = question.id[:1] == "q" and question.id[1:].isdigit()
    return f"{question.id.upper()}: {question.wording}" if numbered else question.id


def export_sheet(store: Store, questionnaire: Questionnaire, out: Path) -> Exported:
    """Write the reviews as an answer sheet (.xlsx).

    Raises:
        UserError: another file ending, or nothing is kept.
    """
    if out.suffix.lower() != ".xlsx":
        raise UserError(
            f"{out} is no answer sheet", found=out.suffix or "no ending", allowed=".xlsx (.json: Label Studio)"
        )
    rows = _require_rows(store)
    with written_whole(out) as file:
        file.write(make_sheet(rows, questionnaire))
    ingest = (
        f"residency ingest --sheet {out} --images {store.folder / IMAGES} --questionnaire "
        f"{store.folder / 'questionnaire.yaml'} --group-by column:Patient --out corrected"
    )
    return _tell(rows, (str(out),), ingest)


def export_studio(store: Store, questionnaire: Questionnaire, out: Path) -> Exported:
    """Write the reviews as Label Studio's tasks: reviewers' answers as annotations, the model's as predictions.

    Raises:
        UserError: nothing is kept.
    """
    rows = _require_rows(store)
    summary = studio_tasks(store, questionnaire, rows, out)
    do = f"residency ingest --sheet EXPORT.json --format label-studio --images {store.folder / IMAGES} ..."
    return _tell(rows, tuple(map(str, summary.written)), do)


def studio_tasks(store: Store, questionnaire: Questionnaire, rows: list[Row], out: Path) -> StudioSummary:
    """Write rows as Label Studio's tasks."""
    samples, told = [], dict[str, Prediction]()
    for row in rows:
        case = store.find_case(row.case.id)
        assert case is not None
        for answer in case.answers:
            word = row.words.get(answer.question)
            sample = _as_sample(row, questionnaire.question(answer.question), word)
            samples.append(sample)
            told[sample.id] = Prediction(
                id=sample.id, model=case.model, mode="own", split="all", prompt_sha256="", prediction=answer.text,
                parsed=answer.answer, parts=answer.parts, confidence=answer.confidence,
            )  # fmt: skip
    return write_tasks(Dataset(store.folder, tuple(samples), questionnaire, None), told, out)


def _as_sample(row: Row, question: Question, word: Reviewed | None) -> Sample:
    answer: Answer | None = word.answer if word else None
    return Sample(
        id=f"{row.case.image_sha256}:{question.id}:{row.author or ''}",
        image=f"{IMAGES}/{row.case.image_sha256}.png",
        prefix=question.wording,
        suffix=word.text if word else None,
        group=row.case.patient,
        question=question.id,
        answer=answer,
        parts=dict(word.parts) if word else {},
        annotator=row.author,
    )


def _require_rows(store: Store) -> list[Row]:
    rows = gather_rows(store)
    if not rows:
        do = "upload pictures and review their answers: residency serve"
        raise UserError(f"{store.folder} holds no case yet", do=do, exit_code=1)
    return rows


def _tell(rows: list[Row], written: tuple[str, ...], ingest: str) -> Exported:
    return Exported(
        written=written,
        rows=len(rows),
        answers=sum(word.text is not None for row in rows for word in row.words.values()),
        pictures=len({row.case.image_sha256 for row in rows}),
        reviewers=len({row.author for row in rows if row.author}),
        next_command=ingest,
    )
