"""All answers but numbers in; one mean credit out, whether the model looks at its images, how it fares by subgroup."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from residency.evaluate.bootstrap import Estimate, draw_sums, estimate, estimate_gain, interval, sum_groups
from residency.evaluate.gather import Answered
from residency.evaluate.mark import credit_answered
from residency.evaluate.metric import Floats, Metric, Tally, mean_tally
from residency.evaluate.records import Gap, Looking, Subgroup, Subgroups
from residency.evaluate.verdict import FEWEST_GROUPS
from residency.types import Sample

CREDIT = Metric("mean credit")
NEGLIGIBLE = 0.05
"""A gain through the image whose whole interval lies below this is no looking."""
MOST_VALUES = 12
BANDS = 3
_UNTOLD = frozenset(("patient", "study", "series", "video", "file", "name"))
_COLUMNS = frozenset(("machine", "device", "vendor", "scanner", "site", "hospital", "centre", "center", "age", "sex"))


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


def score_subgroups(answers: Sequence[Answered], draws: int, seed: int) -> list[Subgroups]:
    """Return the tuned model's mean credit in each subgroup that the sheet names, and the largest gap between two.

    The gap's interval is widened for having been picked out of all pairs (Bonferroni); patients are drawn whole.
    """
    samples = [sample for answered in credited(answers) for sample in answered.samples]
    if not any("own" in answered.answers for answered in credited(answers)):
        return []
    tally, groups = tally_credit(answers, "own"), groups_of(answers)
    return [
        _score_attribute(name, values, order, tally, groups, draws, seed)
        for name, values, order in _attributes(samples)
    ]


def _attributes(samples: Sequence[Sample]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each attribute that divides the samples, every sample's value ('': it has none), the values in order."""
    told = [
        sample.attributes | {key: value for key, value in sample.columns.items() if key.casefold() in _COLUMNS}
        for sample in samples
    ]
    for name in sorted({name for one in told for name in one}):
        values, order = _band([one.get(name, "").strip() for one in told])
        if name.casefold() not in _UNTOLD and 2 <= len(order) <= MOST_VALUES:
            yield name, values, order


def _band(values: list[str]) -> tuple[list[str], list[str]]:
    """Return numbers of many values as three bands of about equal size, all else as it is; and the names in order."""
    as_told = sorted(set(values) - {""})
    try:
        numbers = {value: float(value.split()[0]) for value in as_told}
    except ValueError:
        return values, as_told
    if len(set(numbers.values())) <= MOST_VALUES // 2:
        return values, sorted(as_told, key=numbers.__getitem__)
    shares = np.linspace(0, 1, BANDS + 1)[1:-1]
    cuts = np.quantile([numbers[value] for value in values if value], shares, method="inverted_cdf")
    middle = [f"above {low:g} to {high:g}" for low, high in pairwise(cuts)]
    names = [f"up to {cuts[0]:g}", *middle, f"above {cuts[-1]:g}"]
    banded = [names[int(np.searchsorted(cuts, numbers[value]))] if value else "" for value in values]
    return banded, [name for name in names if name in banded]


def _score_attribute(
    name: str, values: list[str], order: list[str], tally: Tally, groups: list[str], draws: int, seed: int
) -> Subgroups:
    rows, kept, sums = [], [], []
    value_N = np.array(values)
    for value in order:
        in_N = value_N == value
        part = Tally(tally.metric, tally.rows_ND * in_N[:, None], tally.value, tally.scored_N & in_N)
        found = estimate(part, groups, draws, seed)
        rows.append(
            Subgroup(
                value=value, score=found.value, low=found.low, high=found.high, exact=found.exact, n=found.n,
                groups=found.groups, note=found.note,
            )
        )  # fmt: skip
        if found.groups >= FEWEST_GROUPS:
            kept.append(rows[-1])
            sums.append(sum_groups(part.rows_ND, groups))
    untold = int((value_N == "").sum())
    return Subgroups(attribute=name, untold=untold, rows=tuple(rows), gap=_gap(kept, sums, tally, draws, seed))


def _gap(rows: Sequence[Subgroup], sums: Sequence[Floats], tally: Tally, draws: int, seed: int) -> Gap | None:
    if len(rows) < 2:
        return None
    pairs = list(combinations(range(len(rows)), 2))
    values = [float(row.score or 0) for row in rows]
    best, worst = max(pairs + [(b, a) for a, b in pairs], key=lambda pair: values[pair[0]] - values[pair[1]])
    drawn = draw_sums(np.hstack([sums[best], sums[worst]]), draws, seed)
    width = tally.rows_ND.shape[1]
    gaps_R = tally.value(drawn[:, :width]) - tally.value(drawn[:, width:])
    fewest = min(rows[best].groups, rows[worst].groups)
    low, high = interval(gaps_R, fewest, 0.05 / len(pairs))
    return Gap(best=rows[best].value, worst=rows[worst].value, gap=values[best] - values[worst], low=low, high=high,
               pairs=len(pairs))  # fmt: skip
