"""A sample's answer in, its claims out; and the records of judged claims."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from residency.data.normalize import parse_answer
from residency.data.together import REPORT, parse_together
from residency.evaluate.assertion import read_assertion
from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.gather import question_id, specs_of, true_answer
from residency.evaluate.heading import name_question
from residency.questionnaire import is_abstention, render_value
from residency.types import Answer, AnswerSpec, AnswerType, Prediction, Question, Questionnaire, Record, Sample

Label = Literal["entailed", "contradicted", "neutral"]
LABELS: tuple[Label, ...] = ("entailed", "contradicted", "neutral")
NOTHING = "none"


class Claim(Record):
    """One atomic, self-contained statement. `slot` is the question that it answers, `value` its canonical answer
    (a set's: one member, or `none` of an empty set); free text has neither."""

    text: str
    slot: str = ""
    kind: AnswerType = "text"
    value: Answer | None = None


Judge = Callable[[Sequence[Claim], Sequence[Claim]], Sequence[Label | None]]
"""Reference claims and asked claims in, a label for each asked one out (None: the judgement failed)."""


class Judged(Record):
    """One claim with its label. `of` is the mode that was judged; `from_reference`: a claim of the reference, judged
    against the prediction. `label` is None where the judge failed."""

    of: str
    image: str
    group: str
    from_reference: bool
    claim: str
    label: Label | None


def claim_truth(sample: Sample, questionnaire: Questionnaire | None) -> list[Claim]:
    """Return the claims of a sample's true answer and sub-answers, or of all answers of a composed report."""
    answer = true_answer(sample)
    if is_composed(sample, questionnaire) and isinstance(answer, str):
        return claim_answer(sample, answer, questionnaire)
    return [] if answer is None else list(_claim(sample, answer, sample.parts, questionnaire))


def claim_prediction(sample: Sample, made: Prediction, questionnaire: Questionnaire | None) -> list[Claim]:
    """Return the claims of what was answered; a text that was not understood is split into claims as it stands.

    An abstention claims nothing.
    """
    text, answer = made.prediction.strip(), made.parsed
    if is_abstention(text):
        return []
    if is_composed(sample, questionnaire):
        return _claim_composed(sample, text, questionnaire)
    spec, _ = specs_of(question_id(sample), [sample], questionnaire)
    if answer is None and spec.type in ("choice", "ordinal") and text:
        answer = read_assertion(spec, text, sample.prefix).option
    if answer is None and text:
        return [Claim(text=claim) for claim in split_claims(text)]
    return [] if answer is None else list(_claim(sample, answer, made.parts, questionnaire))


def claim_answer(sample: Sample, text: str, questionnaire: Questionnaire | None) -> list[Claim]:
    """Return the claims of any text as an answer to the sample's question."""
    known = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    question = known.get(sample.question or "")
    parsed = parse_answer(question, text) if question else None
    made = Prediction(
        id=sample.id, model="", mode="own", split="all", prompt_sha256="", prediction=text,
        parsed=parsed.answer if parsed else text or None, parts=parsed.parts if parsed else {},
    )  # fmt: skip
    return claim_prediction(sample, made, questionnaire)


def is_composed(sample: Sample, questionnaire: Questionnaire | None) -> bool:
    """Tell whether a sample is a report composed of a sheet's answers, a line a question (data/together.py)."""
    return questionnaire is not None and sample.question is None and sample.prefix == REPORT


def _claim_composed(sample: Sample, text: str, questionnaire: Questionnaire | None) -> list[Claim]:
    """Return the claims of a report's lines, each as an answer to its question; other words as they stand."""
    assert questionnaire
    told = parse_together(text, [question.id for question in questionnaire.questions])
    claims: list[Claim] = []
    for question in questionnaire.questions:
        if answer := told[question.id]:
            asked = sample.model_copy(update={"question": question.id, "prefix": question.wording})
            claims += claim_answer(asked, answer, questionnaire)
    return claims or [Claim(text=claim) for claim in split_claims(text)]


def _claim(
    sample: Sample, answer: Answer, parts: dict[str, Answer], questionnaire: Questionnaire | None
) -> Iterator[Claim]:
    spec, part_specs = specs_of(question_id(sample), [sample], questionnaire)
    if spec.type == "text":
        yield from (Claim(text=claim) for claim in split_claims(render_value(answer)))
        return
    name, slot = name_question(spec), spec.id
    if not isinstance(spec, Question) or spec.wording not in ("", sample.prefix):
        name, slot = sample.prefix, f"{spec.id} {sample.prefix}"
    yield from _claim_value(spec, name, slot, answer)
    for part in part_specs:
        if part.id in parts:
            yield from _claim_value(part, name_question(part), part.id, parts[part.id])


def _claim_value(spec: AnswerSpec, name: str, slot: str, value: Answer) -> Iterator[Claim]:
    members: tuple[Answer, ...] = value or (NOTHING,) if isinstance(value, tuple) else (value,)
    for member in members:
        text = f"{name.rstrip('?:. ')}: {render_value(member)}"
        yield Claim(text=text, slot=slot, kind=spec.type, value=member)
