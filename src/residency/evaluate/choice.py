"""One name out of a vocabulary: truths and answers in, balanced accuracy and its companions out.

An unparsed answer is a wrong answer.
"""

import numpy as np

from residency.evaluate.metric import Answers, Floats, Metric, Tally, Truths, divide, mean_tally
from residency.types import AnswerSpec

BALANCED = Metric("balanced accuracy")
ACCURACY = Metric("accuracy")
MACRO_F1 = Metric("macro F1")


def tally_choice(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return balanced accuracy (primary), accuracy and macro F1.

    Balanced accuracy is the mean recall of the classes present among the truths (as scikit-learn's); in a resample,
    of those present in it.
    """
    classes = sorted({str(truth) for truth in truths})
    truth_NK = _one_hot(truths, classes)
    answer_NK = _one_hot(answers, classes)
    hits_NK = truth_NK * answer_NK
    everything = np.ones(len(truths), dtype=np.bool_)
    return [
        Tally(BALANCED, np.hstack([hits_NK, truth_NK]), _balanced, everything),
        mean_tally(ACCURACY, hits_NK.sum(axis=1)),
        Tally(MACRO_F1, np.hstack([hits_NK, truth_NK, answer_NK]), _macro_f1, everything),
    ]


def count_confusions(truths: Truths, answers: Answers, names: tuple[str, ...]) -> tuple[list[str], list[list[int]]]:
    """Return the labels that occur, in the vocabulary's order, and the counts: a row a truth, a column an answer.

    The last column counts unparsed answers.
    """
    seen = {str(truth) for truth in truths} | {str(answer) for answer in answers if answer is not None}
    labels = [name for name in names if name in seen] + sorted(seen - set(names))
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for truth, answer in zip(truths, answers, strict=True):
        counts[place[str(truth)], len(labels) if answer is None else place[str(answer)]] += 1
    return labels, counts.tolist()


def class_rates(counts: list[list[int]]) -> list[tuple[int, float | None, float | None, float | None]]:
    """Return each label's support, precision, recall and F1 from `count_confusions`' counts (None: no such cases)."""
    rates: list[tuple[int, float | None, float | None, float | None]] = []
    for number, row in enumerate(counts):
        hits, support, given = row[number], sum(row), sum(other[number] for other in counts)
        rates.append(
            (
                support,
                hits / given if given else None,
                hits / support if support else None,
                2 * hits / (given + support) if given + support else None,
            )
        )
    return rates


def _one_hot(values: Answers, classes: list[str]) -> Floats:
    place = {name: number for number, name in enumerate(classes)}
    hot_NK = np.zeros((len(values), len(classes)))
    for row, value in enumerate(values):
        if value is not None and str(value) in place:
            hot_NK[row, place[str(value)]] = 1.0
    return hot_NK


def _balanced(sums_RD: Floats) -> Floats:
    hits_RK, truth_RK = np.split(sums_RD, 2, axis=1)
    present_R = (truth_RK > 0).sum(axis=1)
    return divide(np.nan_to_num(divide(hits_RK, truth_RK)).sum(axis=1), present_R.astype(np.float64))


def _macro_f1(sums_RD: Floats) -> Floats:
    hits_RK, truth_RK, answer_RK = np.split(sums_RD, 3, axis=1)
    present_RK = truth_RK > 0
    f1_RK = np.where(present_RK, np.nan_to_num(divide(2 * hits_RK, truth_RK + answer_RK)), 0.0)
    return divide(f1_RK.sum(axis=1), present_RK.sum(axis=1).astype(np.float64))
