"""Validation answers and a risk that the user states in; the confidence below which to abstain, or that none can be
promised, out; and what it came to on the test split.

Thresholds are tried in an order that is fixed by the confidences alone, from the first that could hold at all (59
answers without an error for 5%) downwards, and the last before the first failure is taken: so the promise, that the
share wrong among what is answered exceeds the risk in at most 5% of repetitions, holds although many were tried
(fixed-sequence testing; Angelopoulos 2021, arXiv 2110.01052). Each is tested by the one-sided 95% upper bound of
Clopper and Pearson (1934); where patients have several answers, patients are the trials.
"""

from math import ceil, log

import numpy as np

from residency.errors import UserError
from residency.evaluate.confidence import Sure, fit_temperatures, gather_sure
from residency.evaluate.examine import gather_validation
from residency.evaluate.gather import gather_answers
from residency.evaluate.metric import Floats
from residency.evaluate.read import Evidence
from residency.evaluate.records import Hashes
from residency.types import Record

LEVEL = 0.05


class Abstention(Record):
    """The threshold and what it promises. `threshold` is None where nothing can be promised; `reason` says why."""

    run: str
    question: str
    risk: float
    threshold: float | None
    reason: str
    validation_answers: int
    validation_groups: int
    validation_answered: int = 0
    validation_wrong: int = 0
    upper_bound: float | None = None
    test_answers: int
    test_answered: int = 0
    test_wrong: int = 0
    coverage: float | None = None
    test_risk: float | None = None
    temperature_chosen: float
    temperature_generated: float
    hashes: Hashes


def promise_risk(evidence: Evidence, risk: float, question: str | None = None) -> Abstention:
    """Return the lowest confidence at which answers may be given if at most `risk` of them is to be wrong.

    Raises:
        UserError: the risk is no share, or no validation answers with a confidence were made.
    """
    if not 0 < risk < 1:
        raise UserError("--risk is no share of wrong answers", found=risk, allowed="above 0 and below 1, such as 0.05")
    validation = gather_validation(evidence)
    dataset = evidence.dataset
    answers = gather_answers(evidence.samples, evidence.predictions, dataset.questionnaire, dataset.folder)
    own = gather_sure(answers, evidence.predictions.get("own", []))
    asked = sorted(set(own.question_N))
    if question and question not in asked:
        raise UserError(f"no answers with a confidence to {question}", found=question, allowed=asked)
    if validation is None or not len(validation.right_N):
        raise UserError(
            "a threshold needs the tuned model's answers to the validation split",
            found="none beside the predictions (val.own.jsonl)",
            do="residency predict RUN --split val --as own",
        )
    warmth = fit_temperatures(validation)
    validation, own = _of(validation, question), _of(own, question)
    val_N, test_N = validation.at(warmth), own.at(warmth)
    threshold, bound, reason = find_threshold(validation.right_N, val_N, validation.group_N, risk)
    kept_V, kept_T = (sure_N >= threshold if threshold is not None else sure_N > 1 for sure_N in (val_N, test_N))
    wrong = int((1 - own.right_N[kept_T]).sum())
    return Abstention(
        run=evidence.name,
        question=question or "all closed and free answers",
        risk=risk,
        threshold=threshold,
        reason=reason,
        validation_answers=len(val_N),
        validation_groups=len(set(validation.group_N)),
        validation_answered=int(kept_V.sum()),
        validation_wrong=int((1 - validation.right_N[kept_V]).sum()),
        upper_bound=bound,
        test_answers=len(test_N),
        test_answered=int(kept_T.sum()),
        test_wrong=wrong,
        coverage=float(kept_T.mean()) if len(test_N) and threshold is not None else None,
        test_risk=wrong / int(kept_T.sum()) if kept_T.any() else None,
        temperature_chosen=warmth[True],
        temperature_generated=warmth[False],
        hashes=evidence.hashes,
    )


def find_threshold(
    right_N: Floats, sure_N: Floats, group_N: tuple[str, ...], risk: float
) -> tuple[float | None, float | None, str]:
    """Return (threshold, its upper bound, why): the lowest that holds before the first that fails."""
    order_N = np.argsort(-sure_N, kind="stable")
    sorted_N, names = sure_N[order_N], np.asarray(group_N)[order_N]
    wrong_N = (1 - right_N[order_N]).cumsum()
    _, first_N = np.unique(names, return_index=True)
    new_N = np.zeros(len(names))
    new_N[first_N] = 1
    trials_N = new_N.cumsum()
    ends_N = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))
    needed = ceil(log(LEVEL) / log(1 - risk))
    bounds_K = upper_bounds(wrong_N[ends_N] / (ends_N + 1) * trials_N[ends_N], trials_N[ends_N])
    found: tuple[float, float] | None = None
    for end, bound in zip(ends_N, bounds_K, strict=True):
        if trials_N[end] < needed:
            continue
        if bound > risk:
            break
        found = float(sorted_N[end]), float(bound)
    if found:
        return *found, "promised"
    groups = int(trials_N[-1]) if len(trials_N) else 0
    why = f"{groups} patients" if groups < len(names) else f"{groups} answers"
    if groups < needed:
        return None, None, f"cannot be promised with {why}: {risk:.0%} needs {needed} without an error"
    return None, None, f"cannot be promised with {why}: even the surest of them are too often wrong"


def upper_bounds(hits_K: Floats, trials_K: Floats) -> Floats:
    """Return Clopper and Pearson's one-sided 95% upper bound of a share; hits need not be whole."""
    from scipy.stats import beta

    full_K = hits_K >= trials_K
    bounds_K = beta.ppf(1 - LEVEL, hits_K + 1, np.where(full_K, 1, trials_K - hits_K))
    return np.where(full_K, 1.0, bounds_K)


def _of(sure: Sure, question: str | None) -> Sure:
    rows = [row for row, id in enumerate(sure.question_N) if question in (None, id)]
    return Sure(
        tuple(sure.question_N[row] for row in rows), sure.right_N[rows], sure.sure_N[rows],
        tuple(sure.group_N[row] for row in rows), tuple(sure.scores[row] for row in rows),
        tuple(sure.true[row] for row in rows),
    )  # fmt: skip
