"""A sample's answer in, its claims out; and the records of judged claims."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from residency.evaluate.assertion import read_assertion
from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.gather import question_id, specs_of, true_answer
from residency.evaluate.heading import name_question
from residency.questionnaire import render_value
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
    """Return the claims of a sample's true answer and sub-answers."""
    answer = true_answer(sample)
    return [] if answer is None else list(_claim(sample, answer, sample.parts, questionnaire))


def claim_prediction(sample: Sample, made: Prediction, questionnaire: Questionnaire | None) -> list[Claim]:
    """Return the claims of what was answered; a text that was not understood is split into claims as it stands."""
    answer: Answer | None = made.parsed
    spec, _ = specs_of(question_id(sample), [sample], questionnaire)
    text = made.prediction.strip()
    if answer is None and spec.type in ("choice", "ordinal") and text:
        answer = read_assertion(spec, text, sample.prefix).option
    if answer is None and text:
        return [Claim(text=claim) for claim in split_claims(text)]
    return [] if answer is None else list(_claim(sample, answer, made.parts, questionnaire))


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
