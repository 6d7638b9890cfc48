"""Answers whose prompts told of similar cases in; how often the answer is a neighbour's, rightly and wrongly, out."""

from collections.abc import Iterable, Sequence

import numpy as np

from residency.evaluate.bootstrap import estimate
from residency.evaluate.gather import Answered
from residency.evaluate.metric import Metric, mean_tally
from residency.evaluate.records import Copying
from residency.types import Answer, Neighbour, Prediction, Quantity

COPIED = Metric("answers that are a neighbour's")


def measure_copying(
    answers: Sequence[Answered], predictions: dict[str, list[Prediction]], draws: int, seed: int
) -> list[Copying]:
    """Return, for each way of answering and each question, what became of the neighbours' answers.

    Only samples whose prompt told of a case count; an unparsed answer is nobody's. Sub-answers are left out. The last
    of each way, without a question, is of all questions together.
    """
    found: list[Copying] = []
    for of, made in predictions.items():
        told = {one.id: [n for n in one.neighbours if n.answer is not None] for one in made if one.neighbours}
        rows = [
            (answered.spec.id, sample.group, truth, answer, told[sample.id])
            for answered in answers
            if not answered.is_part and of in answered.answers
            for sample, truth, answer in zip(answered.samples, answered.truths, answered.answers[of], strict=True)
            if told.get(sample.id)
        ]
        for question in (*dict.fromkeys(row[0] for row in rows), "") if rows else ():
            found.append(_count(of, question, [row for row in rows if question in ("", row[0])], draws, seed))
    return found


def _count(
    of: str,
    question: str,
    rows: Iterable[tuple[str, str, Answer, Answer | None, list[Neighbour]]],
    draws: int,
    seed: int,
) -> Copying:
    marks = [
        (
            group,
            answer is not None and any(_same(answer, one.answer) for one in told),
            answer is not None and _same(answer, truth),
            any(_same(truth, one.answer) for one in told),
        )
        for _, group, truth, answer, told in rows
    ]
    tally = mean_tally(COPIED, np.array([float(copied) for _, copied, _, _ in marks]))
    share = estimate(tally, [group for group, _, _, _ in marks], draws, seed)

    def count(copied: bool, right: bool) -> int:
        return sum((was_copied, was_right) == (copied, right) for _, was_copied, was_right, _ in marks)

    return Copying(
        of=of,
        question=question,
        n=len(marks),
        groups=share.groups,
        copied=share.value,
        low=share.low,
        high=share.high,
        copied_right=count(True, True),
        copied_wrong=count(True, False),
        own_right=count(False, True),
        own_wrong=count(False, False),
        told_right=sum(told_right for _, _, _, told_right in marks),
    )


def _same(one: Answer, other: Answer | None) -> bool:
    """Tell whether two answers are the same: a set in any order, words whatever their case, numbers to 0.1%."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return set(one) == set(other)
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return one.unit == other.unit and abs(one.value - other.value) <= 1e-3 * abs(other.value)
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold().split() == other.casefold().split()
    return False
