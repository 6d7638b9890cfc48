"""Models that answered the same samples in; win, tie or loss by question and overall out, with intervals and power.

After Jeong 2024 (arXiv 2411.04118): paired, bootstrap of the difference, but drawn by group, for eight answers about
one image are not independent. One matrix product serves all questions, models and draws. By question the two-sided p
is adjusted after Holm (Scandinavian Journal of Statistics 1979;6:65); overall it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import numpy as np

from residency.evaluate.bootstrap import FEW_GROUPS, draw_sums, interval
from residency.evaluate.contest import (
    Comparison,
    Decided,
    Entered,
    Pair,
    Versus,
    enter_all,
    shared_samples,
    warn_contest,
)
from residency.evaluate.gather import Answered, gather_answers
from residency.evaluate.heading import name_question
from residency.evaluate.measure import tally_answered
from residency.evaluate.metric import Floats, Tally
from residency.evaluate.overall import groups_of, tally_credit
from residency.evaluate.records import Warned
from residency.evaluate.verdict import FEWEST_GROUPS
from residency.types import Prediction, Sample, SplitName

ALPHA, POWER = 0.05, 0.8
OVERALL = "overall"


@dataclass(frozen=True)
class Match:
    """One question's tallies of A and B, on the samples that both score; `rows` says where each sample's group is."""

    question: str
    heading: str
    own: Tally
    other: Tally
    group_N: np.ndarray

    def sums(self, groups: int) -> Floats:
        """Return both tallies' rows summed by group, side by side, [G, 2D]."""
        both_N = self.own.scored_N & self.other.scored_N
        rows_ND = np.hstack([self.own.rows_ND[both_N], self.other.rows_ND[both_N]])
        sums_GD = np.zeros((groups, rows_ND.shape[1]))
        np.add.at(sums_GD, self.group_N[both_N], rows_ND)
        return sums_GD

    @property
    def scored_groups(self) -> int:
        """How many groups hold a sample that both score."""
        return len(np.unique(self.group_N[self.own.scored_N & self.other.scored_N]))

    @property
    def items(self) -> int:
        """How many samples both score."""
        return int((self.own.scored_N & self.other.scored_N).sum())

    def gain(self, sums_RD: Floats) -> tuple[Floats, Floats, Floats]:
        """Return A's value, B's, and by how much A is better, of summed rows [R, 2D]."""
        width = self.own.rows_ND.shape[1]
        a_R, b_R = self.own.value(sums_RD[:, :width]), self.other.value(sums_RD[:, width:])
        return a_R, b_R, (a_R - b_R if self.own.metric.higher_is_better else b_R - a_R) + 0.0  # no -0


def compare_paths(
    paths: Sequence[Path], data: Path | None = None, split: SplitName = "test", draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Compare the first of several runs or predictions files with each of the others.

    Raises:
        UserError: fewer than two, or no sample that all predicted.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    entered = enter_all(paths, data, split)
    samples, left_out = shared_samples(entered)
    groups = len({sample.group for sample in samples})
    first, *others = entered
    warnings = warn_contest(entered, samples)
    if groups < FEW_GROUPS:
        message = f"Only {groups} groups (patients) are compared: intervals are rough and may be too narrow."
        warnings.append(Warned(kind="too-few-groups", message=message))
    if left_out:
        message = f"{left_out} samples were predicted by some of the models only, and are left out."
        warnings.append(Warned(kind="left-out", message=message))
    return Comparison(
        contestants=tuple(one.shown for one in entered),
        split=next(iter(first.made.values())).split,
        items=len(samples),
        groups=groups,
        left_out=left_out,
        draws=draws,
        seed=seed,
        warnings=tuple(warnings),
        pairs=tuple(compare_pair(first, other, samples, draws, seed) for other in others),
    )


def compare_pair(a: Entered, b: Entered, samples: Sequence[Sample], draws: int, seed: int) -> Pair:
    """Compare two models on samples that both predicted; every question is drawn with the same resamples of groups."""
    made: dict[str, list[Prediction]] = {"a": [a.made[s.id] for s in samples], "b": [b.made[s.id] for s in samples]}
    gathered = gather_answers(samples, made, a.dataset.questionnaire, a.dataset.folder)
    answers = [one for one in gathered if not one.is_part]
    order, _ = np.unique([sample.group for sample in samples], return_inverse=True)
    matches = [_match(answered, order) for answered in answers]
    if total := _match_overall(answers, order):
        matches.append(total)
    judged = judge_matches(matches, len(order), draws, seed)
    questions, overall = [v for v in judged if v.question != OVERALL], [v for v in judged if v.question == OVERALL]
    count = {outcome: sum(v.outcome == outcome for v in questions) for outcome in ("win", "tie", "loss")}
    return Pair(
        a=a.shown.name,
        b=b.shown.name,
        questions=tuple(questions),
        overall=overall[0] if overall else None,
        won=count["win"],
        tied=count["tie"],
        lost=count["loss"],
    )


def judge_matches(matches: Sequence[Match], groups: int, draws: int, seed: int) -> list[Versus]:
    """Return the verdict of each match; all but `overall` are adjusted for each other."""
    sums = [match.sums(groups) for match in matches]
    edges = np.cumsum([0, *(part.shape[1] for part in sums)])
    drawn_RD = draw_sums(np.hstack(sums), draws, seed)
    found: list[tuple[Match, tuple[Floats, Floats, Floats], Floats]] = []
    for match, part_GD, start, end in zip(matches, sums, edges, edges[1:], strict=False):
        found.append((match, match.gain(part_GD.sum(axis=0, keepdims=True)), match.gain(drawn_RD[:, start:end])[2]))
    p_values = [two_sided_p(drawn_R, match.scored_groups) for match, _, drawn_R in found]
    asked = [number for number, match in enumerate(matches) if match.question != OVERALL]
    adjusted = dict(zip(asked, adjust_holm([p_values[number] for number in asked]), strict=True))
    return [
        _judge(match, point, drawn_R, p_values[number], adjusted.get(number), len(asked))
        for number, (match, point, drawn_R) in enumerate(found)
    ]


def two_sided_p(drawn_R: Floats, groups: int) -> float | None:
    """Return the p of no difference that the widened percentile interval implies (None: nothing was drawn).

    The smaller share q of draws on one side of 0 (never below 1 / (R + 1)) is widened for few groups as the interval
    is: t = -Phi^-1(q) sqrt((G - 1) / G), p = 2 P(T_{G-1} > t). So p < 0.05 where the 95% interval excludes 0.
    """
    from scipy.stats import norm, t

    drawn_R = drawn_R[~np.isnan(drawn_R)]
    if groups < 2 or not len(drawn_R):
        return None
    tail = min((drawn_R <= 0).sum(), (drawn_R >= 0).sum())
    share = min((float(tail) + 1) / (len(drawn_R) + 1), 0.5)
    return float(min(1.0, 2 * t.sf(-norm.ppf(share) * sqrt((groups - 1) / groups), groups - 1)))


def adjust_holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p, in the order given; what has no p stays so and counts for nothing."""
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, number) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[number] = largest
    return adjusted


def more_groups(gain: float, spread: float, groups: int, alpha: float) -> int | None:
    """Return how many more groups would show a true difference `gain` four times in five (None: it is 0).

    `spread` is the standard deviation of the drawn differences with `groups` groups; it falls with their root.
    """
    if gain == 0 or spread == 0:
        return None
    return max(0, ceil(groups * (_reach(alpha) * spread / abs(gain)) ** 2) - groups)


def _judge(
    match: Match, point: tuple[Floats, Floats, Floats], drawn_R: Floats, p: float | None, adjusted: float | None,
    questions: int,
) -> Versus:  # fmt: skip
    groups, overall = match.scored_groups, match.question == OVERALL
    a, b, gain = (_number(values_R) for values_R in point)
    low, high = interval(drawn_R, groups)
    alpha = ALPHA if overall else ALPHA / max(1, questions)
    spread = float(np.nanstd(drawn_R)) if gain is not None and groups > 1 else 0.0
    outcome = _decide(gain, p if overall else adjusted, groups)
    return Versus(
        question=match.question,
        heading=match.heading,
        metric=match.own.metric.name,
        unit=match.own.metric.unit,
        a=a,
        b=b,
        gain=gain,
        low=low,
        high=high,
        p=p,
        adjusted=adjusted,
        outcome=outcome,
        n=match.items,
        groups=groups,
        detectable=_reach(alpha) * spread if spread else None,
        more_groups=more_groups(gain, spread, groups, alpha) if gain is not None and outcome == "tie" else None,
        note=f"fewer than {FEWEST_GROUPS} groups: nothing is judged" if groups < FEWEST_GROUPS else "",
    )


def _decide(gain: float | None, p: float | None, groups: int) -> Decided:
    if gain is None or p is None or groups < FEWEST_GROUPS or p >= ALPHA or gain == 0:
        return "tie"
    return "win" if gain > 0 else "loss"


def _reach(alpha: float) -> float:
    """Return how many standard errors a true difference must measure to be shown with the wanted power."""
    from scipy.stats import norm

    return float(norm.ppf(1 - alpha / 2) + norm.ppf(POWER))


def _match(answered: Answered, order: np.ndarray) -> Match:
    own, other = (tally_answered(answered, of)[0] for of in ("a", "b"))
    return Match(answered.spec.id, name_question(answered.spec), own, other, np.searchsorted(order, answered.groups))


def _match_overall(answers: Sequence[Answered], order: np.ndarray) -> Match | None:
    """Return the mean credit of all answers but numbers, which no scale of right and wrong holds."""
    if not (groups := groups_of(answers)):
        return None
    own, other = (tally_credit(answers, of) for of in ("a", "b"))
    return Match(OVERALL, "all questions but numbers", own, other, np.searchsorted(order, groups))


def _number(values_R: Floats) -> float | None:
    return None if np.isnan(values_R[0]) else float(values_R[0])
