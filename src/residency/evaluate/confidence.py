"""Answers with their confidence in; temperature, calibration error, Brier score and the risk-coverage curve out.

Confidence of a closed answer is its likelihood among the candidates, softened by a temperature T that the validation
answers choose (Guo 2017, arXiv 1706.04599); that of generated text its mean token likelihood p, as
sigmoid(logit(p) / T). An answer is right where its credit is 1; numbers and outlines have no
right and wrong and are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from residency.evaluate.bootstrap import draw_counts, draw_sums, estimate, interval, sum_groups
from residency.evaluate.gather import Answered
from residency.evaluate.mark import credit_answered
from residency.evaluate.metric import Floats, Metric, Tally, divide, mean_tally
from residency.evaluate.overall import credited
from residency.evaluate.records import Bin, Confidence, Reliability
from residency.evaluate.text import same_text
from residency.questionnaire import is_abstention, render_value
from residency.types import Prediction

BINS = 10
FEWEST_FOR_ECE = 200
MOST_POINTS = 100
BRIER = Metric("Brier score", higher_is_better=False, bounded=False)
ECE = Metric("expected calibration error", higher_is_better=False, bounded=False)
_EDGE = 1e-6
ROWS = 128


@dataclass(frozen=True)
class Sure:
    """N answers with a confidence: whether right, how sure, of which patient; `scores` are the candidates' (may be
    empty) log-likelihoods and `true` the place of the right one among them (-1: it is not there)."""

    question_N: tuple[str, ...]
    right_N: Floats
    sure_N: Floats
    group_N: tuple[str, ...]
    scores: tuple[Floats, ...]
    true: tuple[int, ...]

    def at(self, temperatures: Mapping[bool, float]) -> Floats:
        """Return the confidences at temperatures, one for chosen answers (True) and one for generated ones."""
        softened = self.sure_N.copy()
        for row, scores_K in enumerate(self.scores):
            warmth = temperatures[bool(len(scores_K))]
            if len(scores_K):
                exp_K = np.exp((scores_K - scores_K.max()) / warmth)
                softened[row] = exp_K.max() / exp_K.sum()
            else:
                p = min(max(float(self.sure_N[row]), _EDGE), 1 - _EDGE)
                softened[row] = 1 / (1 + ((1 - p) / p) ** (1 / warmth))
        return softened


def gather_sure(answers: Sequence[Answered], predictions: Sequence[Prediction]) -> Sure:
    """Return the tuned model's answers that have a confidence."""
    made = {prediction.id: prediction for prediction in predictions}
    rows: list[tuple[str, float, float, str, Floats, int]] = []
    for answered in credited(answers):
        if answered.kind == "outlines":
            continue
        said = answered.answers.get("own", [None] * len(answered.truths))
        for sample, truth, answer, credit in zip(
            answered.samples, answered.truths, said, credit_answered(answered, "own"), strict=True
        ):
            one = made.get(sample.id)
            if one is None or one.confidence is None or is_abstention(one.prediction):
                continue
            right = float(same_text(truth, answer) if answered.kind == "text" else credit == 1)
            names = list(one.candidates)
            true = names.index(render_value(truth)) if render_value(truth) in names else -1
            scores_K = np.array(list(one.candidates.values()), dtype=np.float64)
            rows.append((answered.spec.id, right, one.confidence, sample.group, scores_K, true))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    return Sure(
        tuple(columns[0]), np.array(columns[1], dtype=np.float64), np.array(columns[2], dtype=np.float64),
        tuple(columns[3]), tuple(columns[4]), tuple(columns[5]),
    )  # fmt: skip


def fit_temperatures(validation: Sure) -> dict[bool, float]:
    """Return the temperatures that make the validation answers likeliest, in [0.05, 20] (1: there are none)."""
    from scipy.optimize import minimize_scalar

    found = {}
    for chosen in (True, False):
        rows = [row for row, scores_K in enumerate(validation.scores) if bool(len(scores_K)) == chosen]

        def loss(log_warmth: float, rows: Sequence[int] = rows, chosen: bool = chosen) -> float:
            warmth = float(np.exp(log_warmth))
            if chosen:
                return float(np.mean([_surprise(validation, row, warmth) for row in rows]))
            sure_N = np.clip(validation.at({True: 1.0, False: warmth})[rows], _EDGE, 1 - _EDGE)
            right_N = validation.right_N[rows]
            return -float(np.mean(right_N * np.log(sure_N) + (1 - right_N) * np.log(1 - sure_N)))

        fitted = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded") if rows else None
        found[chosen] = float(np.exp(fitted.x)) if fitted is not None else 1.0
    return found


def _surprise(sure: Sure, row: int, warmth: float) -> float:
    """Return the negative log-likelihood of the right candidate, or of the chosen one's being wrong, at a warmth."""
    scaled_K = sure.scores[row] / warmth
    shares_K = np.exp(scaled_K - scaled_K.max())
    shares_K /= shares_K.sum()
    share = shares_K[sure.true[row]] if sure.true[row] >= 0 else 1 - shares_K.max()
    return -float(np.log(max(share, _EDGE)))


def examine_confidence(own: Sure, validation: Sure | None, draws: int, seed: int) -> Confidence | None:
    """Return how well the model knows what it knows, as it is and at validation's temperatures (None: no answers)."""
    if not len(own.right_N):
        return None
    temperatures = fit_temperatures(validation) if validation and len(validation.right_N) else None
    return Confidence(
        answers=len(own.right_N),
        groups=len(set(own.group_N)),
        validation_answers=len(validation.right_N) if validation else 0,
        temperature_chosen=temperatures[True] if temperatures else None,
        temperature_generated=temperatures[False] if temperatures else None,
        raw=measure_reliability(own.right_N, own.sure_N, own.group_N, draws, seed),
        scaled=measure_reliability(own.right_N, own.at(temperatures), own.group_N, draws, seed)
        if temperatures
        else None,
    )


def measure_reliability(right_N: Floats, sure_N: Floats, group_N: Sequence[str], draws: int, seed: int) -> Reliability:
    """Return Brier score, ECE (from 200 answers on), the bins, and the risk-coverage curve with its area."""
    brier = estimate(mean_tally(BRIER, (sure_N - right_N) ** 2), group_N, draws, seed)
    tally = tally_calibration(right_N, sure_N)
    ece, *ece_ends = calibration_error(tally, group_N, draws, seed) if len(right_N) >= FEWEST_FOR_ECE else (None,) * 3
    sums_D = tally.rows_ND.sum(axis=0).reshape(3, BINS)
    area, low, high = risk_area(right_N, sure_N, group_N, draws, seed)
    coverage_N, risk_N = risk_curve(right_N, sure_N)
    shown = np.unique(np.linspace(0, len(risk_N) - 1, min(MOST_POINTS, len(risk_N))).astype(int))
    return Reliability(
        brier=brier.value,
        brier_low=brier.low,
        brier_high=brier.high,
        ece=ece,
        ece_low=ece_ends[0],
        ece_high=ece_ends[1],
        mean_confidence=float(sure_N.mean()),
        share_right=float(right_N.mean()),
        bins=tuple(
            Bin(answers=int(n), confidence=float(sure / n), right=float(right / n)) for n, sure, right in sums_D.T if n
        ),
        area=area,
        area_low=low,
        area_high=high,
        curve=tuple((float(coverage_N[at]), float(risk_N[at])) for at in shown),
    )


def tally_calibration(right_N: Floats, sure_N: Floats) -> Tally:
    """Return the tally of the expected calibration error over ten bins of equal width."""
    place_N = np.clip(np.ceil(sure_N * BINS).astype(int) - 1, 0, BINS - 1)
    hot_NB = np.eye(BINS)[place_N]
    rows_ND = np.hstack([hot_NB, hot_NB * sure_N[:, None], hot_NB * right_N[:, None]])

    def value(sums_RD: Floats) -> Floats:
        count_RB, sure_RB, right_RB = np.split(sums_RD, 3, axis=1)
        return divide(np.abs(sure_RB - right_RB).sum(axis=1), count_RB.sum(axis=1))

    return Tally(ECE, rows_ND, value, np.ones(len(right_N), dtype=np.bool_))


def calibration_error(
    tally: Tally, group_N: Sequence[str], draws: int, seed: int
) -> tuple[float, float | None, float | None]:
    """Return the ECE with its 95% interval by group, moved back by the resamples' mean excess over the value.

    Chance alone adds to an ECE, and a resample adds chance to chance: unmoved, the interval may lie above the value.
    """
    rows_GD = sum_groups(tally.rows_ND, group_N)
    value = float(tally.value(rows_GD.sum(axis=0, keepdims=True))[0])
    drawn_R = tally.value(draw_sums(rows_GD, draws, seed))
    low, high = interval(drawn_R - float(drawn_R.mean()) + value, len(rows_GD))
    return value, None if low is None else max(0.0, low), high


def risk_curve(right_N: Floats, sure_N: Floats) -> tuple[Floats, Floats]:
    """Return, from the surest answer on, the share answered and the share wrong among them; equal ones together."""
    order_N = np.argsort(-sure_N, kind="stable")
    wrong_N = (1 - right_N[order_N]).cumsum()
    count_N = np.arange(1, len(order_N) + 1)
    last_N = _last_equal(sure_N[order_N])
    return count_N / len(order_N), (wrong_N / count_N)[last_N]


def risk_area(
    right_N: Floats, sure_N: Floats, group_N: Sequence[str], draws: int, seed: int
) -> tuple[float, float | None, float | None]:
    """Return the area under the risk-coverage curve with its 95% interval by group (Geifman 2019, arXiv 1805.08206)."""
    order_N = np.argsort(-sure_N, kind="stable")
    names, place_N = np.unique(np.asarray(group_N)[order_N], return_inverse=True)
    wrong_N, last_N = 1 - right_N[order_N], _last_equal(sure_N[order_N])

    def area(weights_RN: Floats) -> Floats:
        held_RN = weights_RN.cumsum(axis=1)
        risk_RN = divide((weights_RN * wrong_N).cumsum(axis=1), held_RN)[:, last_N]
        return divide(np.nansum(np.where(weights_RN > 0, risk_RN, 0.0) * weights_RN, axis=1), held_RN[:, -1])

    value = float(area(np.ones((1, len(order_N))))[0])
    counts_RG = draw_counts(len(names), draws, seed)
    drawn = [area(counts_RG[at : at + ROWS][:, place_N].astype(np.float64)) for at in range(0, draws, ROWS)]
    return value, *interval(np.concatenate(drawn), len(names))


def _last_equal(sorted_N: Floats) -> np.ndarray:
    """Return, for each place of descending values, the last place that holds an equal one."""
    return len(sorted_N) - 1 - np.searchsorted(sorted_N[::-1], sorted_N, side="left")
