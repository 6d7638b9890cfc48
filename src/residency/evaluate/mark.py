"""One answered question in, a line a sample out: truth, answer, and how good the answer was."""

from collections.abc import Iterator, Mapping, Sequence

from residency.evaluate.boxes import credit_boxes
from residency.evaluate.gather import Answered
from residency.evaluate.number import signed_errors
from residency.evaluate.ordinal import rank_errors
from residency.evaluate.outlines import overlap_regions
from residency.evaluate.places import Marked, count_labels
from residency.evaluate.records import Mark
from residency.evaluate.sets import set_f1
from residency.evaluate.text import token_f1
from residency.questionnaire import render_value
from residency.types import Answer


def mark_answers(answered: Answered, of: str, texts: Mapping[str, str]) -> Iterator[Mark]:
    """Yield the mark of each sample (nothing: the mode was not run); `texts` is what the model said, by sample id."""
    if of not in answered.answers:
        return
    spec, truths, answers = answered.spec, answered.truths, answered.answers[of]
    errors: list[float | None] = [None] * len(truths)
    if spec.type == "number":
        errors = [None if error != error else float(error) for error in signed_errors(truths, answers)]
    elif spec.type == "ordinal":
        errors = [float(error) for error in rank_errors(spec, truths, answers)]
    credits = credit_answered(answered, of)
    for number, (sample, truth, answer) in enumerate(zip(answered.samples, truths, answers, strict=True)):
        told = answered.placed.told[of][number] if answered.placed else None
        yield Mark(
            id=sample.id,
            question=spec.id,
            of=of,
            group=sample.group,
            category=sample.category,
            truth=count_labels(answered.placed.true[number]) if answered.placed else render_value(truth) or "none",
            answer=_tell(answer, told),
            said=texts.get(sample.id, "") if answer is None else "",
            credit=credits[number],
            error=errors[number],
            boxes=told.answers if told else (),
            outlines=told.outlines if told else (),
        )


def _tell(answer: Answer | None, told: Marked | None) -> str | None:
    if told:
        return count_labels(told)
    return None if answer is None else render_value(answer) or "none"


def credit_answered(answered: Answered, of: str) -> Sequence[float | None]:
    """Return how right each answer of a mode is: boxes by F1 at IoU 0.5 in their picture, outlines by Dice."""
    if answered.placed is None:
        made = answered.answers.get(of, [None] * len(answered.truths))
        return [credit_answer(answered.spec.type, t, a) for t, a in zip(answered.truths, made, strict=True)]
    true = answered.placed.true
    told = answered.placed.told.get(of, (None,) * len(true))
    if answered.placed.kind == "boxes":
        return credit_boxes(true, told)
    return [overlap_regions(truth, one)[0] for truth, one in zip(true, told, strict=True)]


def credit_answer(kind: str, truth: Answer, answer: Answer | None) -> float | None:
    """Return how right an answer is, in [0, 1]: a set by F1, text by token F1, names 0 or 1 (None: a number)."""
    if kind == "number":
        return None
    if kind == "set":
        return set_f1(truth, answer)
    return token_f1(truth, answer) if kind == "text" else float(truth == answer)
