"""What every metric is made of: truths and answers in, additive statistics a sample and their value out.

A metric never averages by batch. It gives each sample a row of statistics (hits, counts, summed errors ...) and a
function from summed rows to the value, so a bootstrap by group only has to add rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from residency.types import Answer

Floats = NDArray[np.float64]
Truths = Sequence[Answer]
Answers = Sequence[Answer | None]
"""What was answered to each sample; None: unparsed."""


@dataclass(frozen=True)
class Metric:
    """A metric's name, unit and direction; `bounded`: its values lie in [0, 1] and are a share of samples."""

    name: str
    unit: str = ""
    higher_is_better: bool = True
    bounded: bool = True

    @property
    def gain(self) -> str:
        """The name of a difference in this metric, signed so that positive is better."""
        return f"gain in {self.name}" if self.higher_is_better else f"reduction of {self.name}"


@dataclass(frozen=True)
class Tally:
    """One metric's statistics over N samples.

    `rows_ND` holds D additive statistics a sample; `value` maps summed rows [R, D] to values [R], NaN where nothing
    can be said; `scored_N` is False for samples that the metric leaves out (their rows are zero).
    """

    metric: Metric
    rows_ND: Floats
    value: Callable[[Floats], Floats] = field(repr=False)
    scored_N: NDArray[np.bool_]
    most_draws: int | None = None
    """At most so many resamples, where a value is dear."""


def mean_tally(metric: Metric, marks_N: Floats) -> Tally:
    """Return the tally of a mean over samples; a NaN mark is a sample left out."""
    scored_N = ~np.isnan(marks_N)
    rows_ND = np.stack([np.where(scored_N, marks_N, 0.0), scored_N.astype(np.float64)], axis=1)
    return Tally(metric, rows_ND, _mean, scored_N)


def divide(above: Floats, below: Floats) -> Floats:
    """Return above / below, NaN where below is 0."""
    quotient: Floats = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def _mean(sums_RD: Floats) -> Floats:
    return divide(sums_RD[:, 0], sums_RD[:, 1])
