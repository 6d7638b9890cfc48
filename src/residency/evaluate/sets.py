"""Several names out of a vocabulary: true and answered sets in, F1, precision and recall a sample out.

An unparsed answer scores 0. Two empty sets agree: F1 1.
"""

import numpy as np

from residency.evaluate.metric import Answers, Metric, Tally, Truths, mean_tally
from residency.types import Answer, AnswerSpec

SET_F1 = Metric("F1 a sample")
SET_PRECISION = Metric("precision a sample")
SET_RECALL = Metric("recall a sample")
SET_EXACT = Metric("exact set")


def tally_sets(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return the F1 (primary), precision, recall and exact agreement, each averaged over samples.

    A sample with an empty answer has no precision, one with an empty truth no recall: both are left out there.
    """
    f1, precision, recall, exact = (np.full(len(truths), np.nan) for _ in range(4))
    for row, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        true, given = names_of(truth), names_of(answer)
        hits = len(true & given)
        f1[row] = set_f1(truth, answer)
        precision[row] = hits / len(given) if given else (0.0 if answer is None else np.nan)
        recall[row] = hits / len(true) if true else np.nan
        exact[row] = float(answer is not None and true == given)
    marks = [(SET_F1, f1), (SET_PRECISION, precision), (SET_RECALL, recall), (SET_EXACT, exact)]
    return [mean_tally(metric, mark_N) for metric, mark_N in marks]


def set_f1(truth: Answer, answer: Answer | None) -> float:
    """Return the F1 of one answered set, in [0, 1]."""
    true, given = names_of(truth), names_of(answer)
    if answer is None:
        return 0.0
    return 2 * len(true & given) / (len(true) + len(given)) if true or given else 1.0


def names_of(value: Answer | None) -> frozenset[str]:
    """Return the names that a set answer holds; a single name is a set of one."""
    if value is None:
        return frozenset()
    return frozenset(value) if isinstance(value, tuple) else frozenset([str(value)])
