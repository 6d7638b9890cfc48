"""All answers but numbers in; one mean credit out, and whether the model looks at its images."""

from collections.abc import Sequence

import numpy as np

from residency.evaluate.bootstrap import Estimate, estimate, estimate_gain
from residency.evaluate.gather import Answered
from residency.evaluate.mark import credit_answered
from residency.evaluate.metric import Metric, Tally, mean_tally
from residency.evaluate.records import Looking
from residency.evaluate.verdict import FEWEST_GROUPS

CREDIT = Metric("mean credit")
NEGLIGIBLE = 0.05
"""A gain through the image whose whole interval lies below this is no looking."""


def credited(answers: Sequence[Answered]) -> list[Answered]:
    """Return the questions whose answers have a credit: all but numbers and sub-answers."""
    return [answered for answered in answers if answered.spec.type != "number" and not answered.is_part]


def tally_credit(answers: Sequence[Answered], of: str) -> Tally:
    """Return the mean credit of one mode over all its answers: names 0 or 1, sets and boxes by F1, outlines by Dice,
    texts by token F1."""
    marks: list[float | None] = []
    for answered in credited(answers):
        marks += credit_answered(answered, of)
    return mean_tally(CREDIT, np.array(marks, dtype=np.float64))


def groups_of(answers: Sequence[Answered]) -> list[str]:
    """Return the groups of `tally_credit`'s samples, in its order."""
    return [group for answered in credited(answers) for group in answered.groups]


def judge_looking(answers: Sequence[Answered], draws: int, seed: int) -> list[Looking]:
    """Return what the image is worth: the gain over the same model blind and over it with another's image."""
    modes = {mode for answered in credited(answers) for mode in answered.answers}
    found = []
    for mode in ("blind", "shuffled"):
        if not {"own", mode} <= modes:
            continue
        own, other, groups = tally_credit(answers, "own"), tally_credit(answers, mode), groups_of(answers)
        gain = estimate_gain(own, other, groups, draws, seed)
        values = [estimate(tally, groups, 1, seed).value for tally in (own, other)]
        found.append(
            Looking(
                against=mode, own=values[0], other=values[1], gain=gain.value, low=gain.low, high=gain.high,
                outcome=_look(gain),
            )
        )  # fmt: skip
    return found


def _look(gain: Estimate) -> str:
    if gain.low is None or gain.high is None or gain.groups < FEWEST_GROUPS:
        return "unknown"
    return "looks" if gain.low > 0 else "does not look" if gain.high < NEGLIGIBLE else "not shown to look"
