"""What a reviewer says of a case in, appended rows out; and the last word of each author, which is what holds."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from residency.data.normalize import answer_reader
from residency.data.parsed import Parsed
from residency.questionnaire import render_answer
from residency.serve.pictures import Refused
from residency.serve.store import ReviewRow, Store, tell_now
from residency.serve.told import AnswerTold, Interpretation
from residency.types import Answer, Question, Questionnaire, Record

Verdict = Literal["accept", "edit", "reject"]
Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
"""What a spreadsheet's cell can hold: no control characters but tab and line ends."""


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class AnswerReview(_Sent):
    """A verdict on one answer; an edit says the right answer in words of the questionnaire."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"verdict": {"const": "edit"}, "text": {"type": "string"}}, "required": ["text"]},
                {"properties": {"verdict": {"enum": ["accept", "reject"]}, "text": {"type": "null"}}},
            ]
        }
    )
    question: Annotated[str, Field(max_length=100)]
    verdict: Verdict
    text: Text | None = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.text is not None) != (self.verdict == "edit"):
            raise ValueError("an edit, and nothing else, has a text")
        return self


class ReviewSent(_Sent):
    """What a reviewer sends: verdicts on answers of a case, a rating of the whole (1 to 5), seconds it took."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"rating": {"type": "integer"}}, "required": ["rating"]},
                {"properties": {"answers": {"minItems": 1}}, "required": ["answers"]},
            ],
            "examples": [
                {
                    "case": "0123456789abcdef",
                    "author": "Dr. Li",
                    "rating": 4,
                    "seconds": 31.5,
                    "answers": [
                        {"question": "q2", "verdict": "accept"},
                        {"question": "q6", "verdict": "edit", "text": "medium image quality"},
                        {"question": "q8", "verdict": "reject"},
                    ],
                }
            ],
        }
    )
    case: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    author: (
        Annotated[str, Field(pattern=r"^[\w][\w .@'-]{0,63}$", description="Where tokens are used, the token's.")]
        | None
    ) = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    answers: Annotated[tuple[AnswerReview, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _says_anything(self) -> Self:
        if not self.answers and self.rating is None:
            raise ValueError("a review holds a rating or a verdict on an answer")
        return self


class Reviewed(Record):
    """A kept review of one answer (or, `question` null, of the whole): what holds after it is `text` and `answer`."""

    id: int
    case: str
    created: datetime
    author: str
    question: str | None = None
    verdict: Verdict | None = None
    text: str | None = None
    answer: Answer | None = None
    parts: dict[str, Answer] = Field(default_factory=dict)
    rating: int | None = None
    seconds: float | None = None


def keep_review(store: Store, questionnaire: Questionnaire, sent: ReviewSent, author: str) -> tuple[Reviewed, ...]:
    """Append a review; it has come back only when it is on disk.

    Raises:
        Refused: no such case (404), or answers that are none of the questionnaire's (422), all of them named.
    """
    case = store.find_case(sent.case)
    if case is None:
        raise Refused(404, "there is no such case")
    created = tell_now().isoformat()
    base: dict[str, Any] = {"case_id": sent.case, "created": created, "author": author, "seconds": sent.seconds}
    rows = [ReviewRow(**base, rating=sent.rating)] if sent.rating is not None else []
    faults = ["a question stands twice"] if len({a.question for a in sent.answers}) < len(sent.answers) else []
    for answer in sent.answers:
        row = _settle(case, questionnaire, answer)
        if isinstance(row, str):
            faults.append(f"{answer.question[:20]}: {row}")
        else:
            rows.append(ReviewRow(**base, **row))
    if faults:
        raise Refused(422, "; ".join(faults))
    with store.writing() as session:
        session.add_all(rows)
        session.flush()
        kept = tuple(as_reviewed(row) for row in rows)
    return kept


def _settle(case: Interpretation, questionnaire: Questionnaire, review: AnswerReview) -> dict[str, Any] | str:
    """Return a review's row, the answer in its canonical form; or what is wrong with it."""
    told = {answer.question: answer for answer in case.answers}.get(review.question)
    if told is None:
        return "the case has no answer to it"
    row: dict[str, Any] = {"question": review.question, "verdict": review.verdict}
    if review.verdict == "reject":
        return row
    question = questionnaire.question(review.question)
    written = _say(question, told) if review.verdict == "accept" else review.text
    if written is None:
        return "what was said is no answer, so it cannot be accepted; edit or reject it"
    parsed, text = answer_reader(question).settle(written)
    if parsed.answer is None or parsed.problems:
        return _tell_problems(parsed)
    plain = Reviewed(id=0, case="", created=case.created, author="", answer=parsed.answer, parts=parsed.parts)
    kept = plain.model_dump(mode="json", include={"answer", "parts"})
    return row | kept | {"text": text}


def _say(question: Question, told: AnswerTold) -> str | None:
    return None if told.answer is None else render_answer(question, told.answer, told.parts)


def _tell_problems(parsed: Parsed) -> str:
    problems = parsed.problems
    near = dict.fromkeys(name for problem in problems for name in problem.candidates)
    nearest = f" (nearest: {', '.join(list(near)[:5])})" if near else ""
    return f"{problems[0].kind if problems else 'empty'}: no answer in the questionnaire's words{nearest}"


def as_reviewed(row: ReviewRow) -> Reviewed:
    """Return a row as the API tells it."""
    values = row.model_dump(exclude={"case_id", "parts"})
    return Reviewed.model_validate(values | {"case": row.case_id, "parts": row.parts or {}})


def last_words(rows: Iterable[Reviewed]) -> dict[tuple[str, str, str | None], Reviewed]:
    """Return what holds: each author's last review of a case's answer (or, None, of the whole)."""
    return {(row.case, row.author, row.question): row for row in rows}


def list_reviewed(rows: Sequence[ReviewRow]) -> list[Reviewed]:
    """Return rows as the API tells them."""
    return [as_reviewed(row) for row in rows]
