"""One answered question in, a line a sample out: truth, answer, and how good the answer was."""

from collections.abc import Iterator, Mapping

from residency.evaluate.gather import Answered
from residency.evaluate.number import signed_errors
from residency.evaluate.ordinal import rank_errors
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
    for sample, truth, answer, error in zip(answered.samples, truths, answers, errors, strict=True):
        yield Mark(
            id=sample.id,
            question=spec.id,
            of=of,
            group=sample.group,
            category=sample.category,
            truth=render_value(truth) or "none",
            answer=None if answer is None else render_value(answer) or "none",
            said=texts.get(sample.id, "") if answer is None else "",
            credit=credit_answer(spec.type, truth, answer),
            error=error,
        )


def credit_answer(kind: str, truth: Answer, answer: Answer | None) -> float | None:
    """Return how right an answer is, in [0, 1]: a set by F1, text by token F1, names 0 or 1 (None: a number)."""
    if kind == "number":
        return None
    if kind == "set":
        return set_f1(truth, answer)
    return token_f1(truth, answer) if kind == "text" else float(truth == answer)
