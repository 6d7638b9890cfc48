"""Answers in; how the tuned model fares by machine, site, age, sex and what else the sheet names, and the gaps, out.

Over all answers but numbers (mean credit), and by question (its primary score). Many gaps are looked at, each the
largest of its kind: its interval and p allow for the pairs it was picked from (Bonferroni), and p besides for all
questions and attributes (Holm, Scandinavian Journal of Statistics 1979;6:65).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from residency.evaluate.bootstrap import draw_sums, estimate, interval, sum_groups
from residency.evaluate.compare import adjust_holm, two_sided_p
from residency.evaluate.gather import Answered
from residency.evaluate.measure import tally_answers
from residency.evaluate.metric import Floats, Tally
from residency.evaluate.overall import credited, groups_of, tally_credit
from residency.evaluate.records import Gap, Subgroup, Subgroups
from residency.evaluate.verdict import FEWEST_GROUPS
from residency.types import Sample

MOST_VALUES = 12
BANDS = 3
_UNTOLD = frozenset(("patient", "study", "series", "video", "file", "name"))
_COLUMNS = frozenset(("machine", "device", "vendor", "scanner", "site", "hospital", "centre", "center", "age", "sex"))


def score_subgroups(answers: Sequence[Answered], draws: int, seed: int) -> list[Subgroups]:
    """Return the tuned model's mean credit in each subgroup that the sheet names, and the largest gap between two.

    The gap's interval is widened for having been picked out of all pairs (Bonferroni); patients are drawn whole.
    """
    asked = [answered for answered in credited(answers) if "own" in answered.answers]
    samples = [sample for answered in credited(answers) for sample in answered.samples]
    if not asked:
        return []
    tally, groups = tally_credit(answers, "own"), groups_of(answers)
    return [
        _score_attribute("", name, [value_of[sample.id] for sample in samples], order, tally, groups, draws, seed)
        for name, value_of, order in _attributes(samples)
    ]


def score_questions(answers: Sequence[Answered], draws: int, seed: int) -> list[Subgroups]:
    """Return each question's primary score in each subgroup, numbers too, with its largest gap.

    Gaps' p are adjusted after Holm for all questions and attributes together.
    """
    asked = [answered for answered in answers if not answered.is_part and "own" in answered.answers]
    made = []
    for name, value_of, order in _attributes([sample for answered in asked for sample in answered.samples]):
        for answered in asked:
            tally = tally_answers(answered.spec, answered.truths, answered.answers["own"])[0]
            values = [value_of[sample.id] for sample in answered.samples]
            told = [value for value in order if value in values]
            if len(told) > 1:
                groups, id = answered.groups, answered.spec.id
                made.append(_score_attribute(id, name, values, told, tally, groups, draws, seed))
    adjusted = adjust_holm([one.gap.p if one.gap else None for one in made])
    return [
        one.model_copy(update={"gap": one.gap and one.gap.model_copy(update={"adjusted": p})})
        for one, p in zip(made, adjusted, strict=True)
    ]


def _attributes(samples: Sequence[Sample]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Yield each attribute that divides the samples, every sample's value ('': it has none), the values in order."""
    told = [
        sample.attributes | {key: value for key, value in sample.columns.items() if key.casefold() in _COLUMNS}
        for sample in samples
    ]
    for name in sorted({name for one in told for name in one}):
        values, order = _band([one.get(name, "").strip() for one in told])
        if name.casefold() not in _UNTOLD and 2 <= len(order) <= MOST_VALUES:
            yield name, dict(zip((sample.id for sample in samples), values, strict=True)), order


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
    question: str, name: str, values: list[str], order: list[str], tally: Tally, groups: list[str], draws: int,
    seed: int,
) -> Subgroups:  # fmt: skip
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
    return Subgroups(
        question=question,
        attribute=name,
        metric=tally.metric.name,
        unit=tally.metric.unit,
        untold=int((value_N == "").sum()),
        rows=tuple(rows),
        gap=_gap(kept, sums, tally, draws, seed),
    )


def _gap(rows: Sequence[Subgroup], sums: Sequence[Floats], tally: Tally, draws: int, seed: int) -> Gap | None:
    """Return the largest gap, by how much the better subgroup is better (in errors: less wrong)."""
    if len(rows) < 2:
        return None
    sign = 1.0 if tally.metric.higher_is_better else -1.0
    pairs = list(combinations(range(len(rows)), 2))
    values = [sign * float(row.score or 0) for row in rows]
    best, worst = max(pairs + [(b, a) for a, b in pairs], key=lambda pair: values[pair[0]] - values[pair[1]])
    drawn = draw_sums(np.hstack([sums[best], sums[worst]]), draws, seed)
    width = tally.rows_ND.shape[1]
    gaps_R = sign * (tally.value(drawn[:, :width]) - tally.value(drawn[:, width:]))
    fewest = min(rows[best].groups, rows[worst].groups)
    low, high = interval(gaps_R, fewest, 0.05 / len(pairs))
    p = two_sided_p(gaps_R, fewest)
    return Gap(
        best=rows[best].value,
        worst=rows[worst].value,
        gap=values[best] - values[worst],
        low=low,
        high=high,
        pairs=len(pairs),
        p=None if p is None else min(1.0, p * len(pairs)),
    )
