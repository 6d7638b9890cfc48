"""Predictions of one model in; the one figure that prompts are chosen by, with its interval by group, out."""

from collections.abc import Sequence

import numpy as np

from residency.evaluate.bootstrap import draw_sums, estimate, interval
from residency.evaluate.gather import Answered, gather_answers
from residency.evaluate.measure import figure_tally, tally_answered
from residency.evaluate.metric import Floats
from residency.types import Prediction, Questionnaire, Record, Sample


class QuestionFigure(Record):
    """A question's primary score with its 95% interval by group."""

    question: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class Figure(Record):
    """The mean over questions of their primary scores in [0, 1] (`validation_score`), with its interval by group.

    `value` is None where nothing could be scored.
    """

    value: float | None
    low: float | None
    high: float | None
    groups: int
    questions: tuple[QuestionFigure, ...]


def estimate_figure(
    samples: Sequence[Sample],
    made: Sequence[Prediction],
    questionnaire: Questionnaire | None,
    draws: int = 2000,
    seed: int = 0,
) -> Figure:
    """Return one model's figure and each question's primary score, with their intervals."""
    answers = _answered(samples, made, questionnaire)
    if not answers:
        return Figure(value=None, low=None, high=None, groups=0, questions=())
    value, drawn_R, groups = draw_figure(samples, made, questionnaire, draws, seed)
    low, high = interval(drawn_R, groups)
    questions = []
    for one in answers:
        primary = tally_answered(one, "own")[0]
        found = estimate(primary, one.groups, draws, seed)
        questions.append(
            QuestionFigure(
                question=one.spec.id,
                metric=primary.metric.name,
                value=found.value,
                low=found.low,
                high=found.high,
                n=found.n,
            )
        )
    return Figure(value=value, low=low, high=high, groups=groups, questions=tuple(questions))


def draw_figure(
    samples: Sequence[Sample],
    made: Sequence[Prediction],
    questionnaire: Questionnaire | None,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, Floats, int]:
    """Return a figure, that of each resample of whole groups (R,), and how many groups there are.

    All questions are drawn with the same resamples; so are two models that answered the same samples.

    Raises:
        ValueError: nothing was answered.
    """
    answers = _answered(samples, made, questionnaire)
    if not answers:
        raise ValueError("nothing was answered")
    order = np.unique([group for one in answers for group in one.groups])
    points, drawn = [], []
    for one in answers:
        tally = figure_tally(one)
        sums_GD = np.zeros((len(order), tally.rows_ND.shape[1]))
        np.add.at(sums_GD, np.searchsorted(order, one.groups), tally.rows_ND)
        points.append(tally.value(sums_GD.sum(axis=0, keepdims=True))[0])
        drawn.append(tally.value(draw_sums(sums_GD, draws, seed)))
    told_QR = np.stack(drawn)
    held_QR = ~np.isnan(told_QR)
    mean_R = np.where(held_QR, told_QR, 0).sum(axis=0) / np.maximum(held_QR.sum(axis=0), 1)
    return float(np.mean(points)), mean_R, len(order)


def _answered(
    samples: Sequence[Sample], made: Sequence[Prediction], questionnaire: Questionnaire | None
) -> list[Answered]:
    found = gather_answers(samples, {"own": made}, questionnaire) if made else []
    return [one for one in found if not one.is_part and one.truths]
