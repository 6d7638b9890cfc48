"""Intervals: a tally and each sample's group in, its value with a 95% interval out.

Whole groups are drawn with replacement (eight answers about one patient are not independent), so a metric needs only
its rows summed by group and one matrix product for all draws. Percentile quantiles are widened for few groups
(Hesterberg 2015, The American Statistician 69:371, section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.metric import Floats, Tally
from residency.types import Score

FEW_GROUPS = 15
TOO_FEW = "too few groups"
ALIKE = "all groups alike"
ROWS = 256
DIGITS = 12
"""A gain's decimals; beyond them sums of equal scores differ by rounding, and a tie would be a win or a loss."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; `exact` stands beside it where groups are too few or all score alike."""

    value: float | None
    low: float | None
    high: float | None
    exact: tuple[float, float] | None
    n: int
    groups: int
    note: str = ""

    def score(self, of: str, question: str, metric: str, subset: str = "all", **counts: int) -> Score:
        """Return it as what `of` scores on a question; `counts` are of answers left out of it (`unparsed` ...)."""
        return Score(
            of=of, question=question, metric=metric, subset=subset, value=self.value, low=self.low, high=self.high,
            exact=self.exact, n=self.n, groups=self.groups, note=self.note, **counts,
        )  # fmt: skip


def estimate(tally: Tally, group_N: Sequence[str], draws: int = 2000, seed: int = 0) -> Estimate:
    """Return a metric's value and interval over the samples that it scores."""
    rows_GD = sum_groups(tally.rows_ND[tally.scored_N], _of(group_N, tally.scored_N))
    n, groups = int(tally.scored_N.sum()), len(rows_GD)
    if n == 0:
        return Estimate(None, None, None, None, 0, 0)
    value = float(tally.value(rows_GD.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):  # such as the precision of boxes where none was told
        return Estimate(None, None, None, None, n, groups)
    drawn_R = tally.value(draw_sums(rows_GD, min(draws, tally.most_draws or draws), seed))
    low, high = interval(drawn_R, groups)
    note = _note(low, high, groups)
    exact = exact_interval(value, groups) if note and tally.metric.bounded else None
    return Estimate(value, low, high, exact, n, groups, note)


def estimate_gain(own: Tally, other: Tally, group_N: Sequence[str], draws: int = 2000, seed: int = 0) -> Estimate:
    """Return by how much `own` is better than `other` (positive: better), both drawn with the same resamples.

    Only samples that both score are compared.
    """
    both_N = own.scored_N & other.scored_N
    if not both_N.any():
        return Estimate(None, None, None, None, 0, 0)
    group_N = _of(group_N, both_N)
    width = own.rows_ND.shape[1]
    rows_GD = sum_groups(np.hstack([own.rows_ND[both_N], other.rows_ND[both_N]]), group_N)
    sign = 1.0 if own.metric.higher_is_better else -1.0

    def gain(sums_RD: Floats) -> Floats:
        gains_R = sign * (own.value(sums_RD[:, :width]) - other.value(sums_RD[:, width:]))
        return np.round(gains_R, DIGITS) + 0.0  # no -0

    drawn_R = gain(draw_sums(rows_GD, draws, seed))
    groups = len(rows_GD)
    low, high = interval(drawn_R, groups)
    value = float(gain(rows_GD.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None, None, None, None, int(both_N.sum()), groups)
    return Estimate(value, low, high, None, int(both_N.sum()), groups, _note(low, high, groups))


def sum_groups(rows_ND: Floats, group_N: Sequence[str]) -> Floats:
    """Return the rows summed by group, [G, D]."""
    _, index_N = np.unique(np.asarray(group_N, dtype=np.str_), return_inverse=True)
    rows_GD = np.zeros((int(index_N.max()) + 1 if len(index_N) else 0, rows_ND.shape[1]))
    np.add.at(rows_GD, index_N, rows_ND)
    return rows_GD


def draw_sums(rows_GD: Floats, draws: int, seed: int) -> Floats:
    """Return the summed rows of each resample of G groups out of G, [R, D]."""
    counts_RG = draw_counts(len(rows_GD), draws, seed)
    pieces = [counts_RG[start : start + ROWS].astype(np.float64) @ rows_GD for start in range(0, draws, ROWS)]
    return np.concatenate(pieces)


@lru_cache(maxsize=8)
def draw_counts(groups: int, draws: int, seed: int) -> NDArray[np.uint16]:
    """Return how often each group stands in each resample, [R, G]; the same for the same arguments."""
    rng = np.random.default_rng([seed, groups])
    counts_RG = np.empty((draws, groups), dtype=np.uint16)
    for start in range(0, draws, ROWS):
        rows = min(ROWS, draws - start)
        drawn = rng.integers(0, groups, size=(rows, groups), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * groups
        counts_RG[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
    return counts_RG


def interval(drawn_R: Floats, groups: int, alpha: float = 0.05) -> tuple[float | None, float | None]:
    """Return the widened percentile interval of the drawn values (None: fewer than two groups)."""
    drawn_R = drawn_R[~np.isnan(drawn_R)]
    if groups < 2 or not len(drawn_R):
        return None, None
    tail = widened_alpha(groups, alpha) / 2
    low, high = np.quantile(drawn_R, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=1024)
def widened_alpha(groups: int, alpha: float = 0.05) -> float:
    """Return 2 Phi(-sqrt(G / (G - 1)) t_{1 - alpha/2, G - 1}), the level at which percentiles are read."""
    from scipy.stats import norm, t

    return float(2 * norm.cdf(-sqrt(groups / (groups - 1)) * t.ppf(1 - alpha / 2, groups - 1)))


def exact_interval(share: float, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share with groups as trials (Biometrika 1934;26:404).

    The successes, share x trials, need not be whole (Korn and Graubard, Survey Methodology 1998;24:193): each group
    counts as one trial however many samples it holds, the cautious end of what correlation within a group allows.
    """
    from scipy.stats import beta

    hits = min(max(share, 0.0), 1.0) * trials
    low = float(beta.ppf(alpha / 2, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - alpha / 2, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def _note(low: float | None, high: float | None, groups: int) -> str:
    return TOO_FEW if groups < FEW_GROUPS else ALIKE if low == high else ""


def _of(group_N: Sequence[str], kept_N: NDArray[np.bool_]) -> list[str]:
    return [group for group, kept in zip(group_N, kept_N, strict=True) if kept]
