"""A typed answer and its samples in, its tallies out, primary metric first; and one figure to pick checkpoints by."""

from collections.abc import Callable, Sequence

import numpy as np

from residency.evaluate.boxes import F1, tally_boxes, tally_nearness
from residency.evaluate.choice import tally_choice
from residency.evaluate.gather import Answered, gather_answers
from residency.evaluate.metric import Answers, Floats, Metric, Tally, Truths, mean_tally
from residency.evaluate.number import tally_number
from residency.evaluate.ordinal import tally_ordinal
from residency.evaluate.outlines import DICE, tally_outlines
from residency.evaluate.sets import tally_sets
from residency.evaluate.text import tally_text
from residency.types import AnswerSpec, AnswerType, Prediction, Quantity, Questionnaire, Sample

METRIC_VERSION = "3"
"""Raised whenever a metric's meaning changes, so that old and new scores are not compared."""

TALLIES: dict[AnswerType, Callable[[AnswerSpec, Truths, Answers], list[Tally]]] = {
    "choice": tally_choice,
    "set": tally_sets,
    "ordinal": tally_ordinal,
    "number": tally_number,
    "text": tally_text,
}


def tally_answers(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return every metric of an answer's type, the primary one first."""
    return TALLIES[spec.type](spec, truths, answers)


def tally_answered(answered: Answered, of: str) -> list[Tally]:
    """Return every metric of a question's answers in one mode, the primary one first; boxes and outlines by place."""
    if answered.placed is None:
        return tally_answers(answered.spec, answered.truths, answered.answers[of])
    tally = tally_boxes if answered.placed.kind == "boxes" else tally_outlines
    return tally(answered.placed.true, answered.placed.told[of])


def primary_metric(answered: Answered) -> Metric:
    """Return the metric that a question is judged by."""
    if answered.placed is None:
        return tally_answers(answered.spec, answered.truths[:1], answered.truths[:1])[0].metric
    return F1 if answered.placed.kind == "boxes" else DICE


def validation_score(
    samples: Sequence[Sample], predictions: Sequence[Prediction], questionnaire: Questionnaire | None
) -> tuple[float | None, dict[str, float]]:
    """Return one figure in [0, 1], higher is better, and each question's own: what the best checkpoint is kept by.

    A question's figure is its primary score; an error in ranks or units becomes 1 - error / (error of always answering
    the median), at least 0, and an unparsed number counts as no better than the median; boxes count by how nearly
    they are right. The figure is the mean over questions (not sub-answers). None: nothing could be scored.
    """
    by_question: dict[str, float] = {}
    for answered in gather_answers(samples, {"own": predictions}, questionnaire):
        if not answered.is_part and answered.truths:
            by_question[answered.spec.id] = _figure(answered)
    return (float(np.mean(list(by_question.values()))) if by_question else None), by_question


def _figure(answered: Answered) -> float:
    tally = figure_tally(answered)
    return float(tally.value(tally.rows_ND.sum(axis=0, keepdims=True))[0])


def figure_tally(answered: Answered) -> Tally:
    """Return the tally of a question's figure in [0, 1], as `validation_score` tells it, for the mode `own`."""
    if answered.placed and answered.placed.kind == "boxes":
        return tally_nearness(answered.placed.true, answered.placed.told["own"])
    spec, truths = answered.spec, answered.truths
    tally = tally_answered(answered, "own")[0]
    if tally.metric.higher_is_better:
        return tally
    if spec.type == "ordinal":
        positions = np.array([spec.names.index(str(truth)) for truth in truths], dtype=np.float64)
    else:
        positions = np.array([truth.value if isinstance(truth, Quantity) else np.nan for truth in truths])
    floor_N = np.abs(positions - np.nanmedian(positions))
    errors_N = np.where(tally.scored_N, tally.rows_ND[:, 0], np.maximum(floor_N, np.nanmean(floor_N)))
    floor, mean = float(np.nanmean(floor_N)), mean_tally(tally.metric, errors_N)

    def figure(sums_RD: Floats) -> Floats:
        errors_R = mean.value(sums_RD)
        return np.maximum(0.0, 1 - errors_R / floor) if floor else (errors_R == 0).astype(np.float64)

    return Tally(Metric(f"1 - {tally.metric.name} / that of the median"), mean.rows_ND, figure, mean.scored_N)
