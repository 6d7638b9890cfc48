"""One step of a scale: true and answered names in, mean absolute error in ranks out.

An unparsed answer takes the largest error that its truth allows: leaving it out would reward silence on hard images.
"""

import numpy as np

from residency.evaluate.metric import Answers, Floats, Metric, Tally, Truths, mean_tally
from residency.types import AnswerSpec

RANK_ERROR = Metric("mean absolute error", unit="ranks", higher_is_better=False, bounded=False)
ACCURACY = Metric("accuracy")
WITHIN_ONE = Metric("within one rank")


def tally_ordinal(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return the mean absolute error in ranks (primary), accuracy, and the share within one rank."""
    errors_N = rank_errors(spec, truths, answers)
    parsed_N = np.array([answer is not None for answer in answers], dtype=np.bool_)
    return [
        mean_tally(RANK_ERROR, errors_N),
        mean_tally(ACCURACY, ((errors_N == 0) & parsed_N).astype(np.float64)),
        mean_tally(WITHIN_ONE, ((errors_N <= 1) & parsed_N).astype(np.float64)),
    ]


def rank_errors(spec: AnswerSpec, truths: Truths, answers: Answers) -> Floats:
    """Return the distance in ranks between each truth and answer; the options' order is the rank.

    Raises:
        KeyError: a truth is not in the vocabulary.
    """
    rank = {name: number for number, name in enumerate(spec.names)}
    errors_N = np.zeros(len(truths))
    for row, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        true = rank[str(truth)]
        worst = max(true, len(rank) - 1 - true)
        errors_N[row] = worst if answer is None or str(answer) not in rank else abs(rank[str(answer)] - true)
    return errors_N
