"""A quantity: true and answered numbers in, errors in the question's unit out.

No error is large enough to stand for a missing number, so an unparsed answer (or one in another unit) is left out of
the error, counted as unscored, and shown beside it.
"""

import numpy as np

from residency.evaluate.metric import Answers, Floats, Metric, Tally, Truths, divide, mean_tally
from residency.types import AnswerSpec, Quantity


def tally_number(spec: AnswerSpec, truths: Truths, answers: Answers) -> list[Tally]:
    """Return the mean absolute error (primary), the bias (answer minus truth), and the relative error."""
    unit = spec.unit or ""
    errors_N = signed_errors(truths, answers)
    sizes_N = np.array([abs(truth.value) if isinstance(truth, Quantity) else np.nan for truth in truths])
    return [
        mean_tally(Metric("mean absolute error", unit, higher_is_better=False, bounded=False), np.abs(errors_N)),
        mean_tally(Metric("bias", unit, higher_is_better=False, bounded=False), errors_N),
        mean_tally(
            Metric("mean relative error", higher_is_better=False, bounded=False), divide(np.abs(errors_N), sizes_N)
        ),
    ]


def signed_errors(truths: Truths, answers: Answers) -> Floats:
    """Return answer minus truth in the truth's unit; NaN where either holds no number in it."""
    errors_N = np.full(len(truths), np.nan)
    for row, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        if isinstance(truth, Quantity) and isinstance(answer, Quantity) and truth.unit == answer.unit:
            errors_N[row] = answer.value - truth.value
    return errors_N


def median_error(truths: Truths, answers: Answers) -> float | None:
    """Return the median absolute error over the scored samples (None: there are none)."""
    errors_N = np.abs(signed_errors(truths, answers))
    scored = errors_N[~np.isnan(errors_N)]
    return float(np.median(scored)) if len(scored) else None
