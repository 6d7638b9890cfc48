from pathlib import Path
from time import process_time

import numpy as np
import pytest
from benchmarks.interval_coverage import CELLS, correlated_marks, measure_cell
from scipy.stats import norm, t

from residency.evaluate.bootstrap import (
    draw_counts,
    estimate,
    estimate_gain,
    exact_interval,
    interval,
    widened_alpha,
)
from residency.evaluate.choice import tally_choice
from residency.evaluate.metric import Metric, mean_tally
from residency.types import AnswerSpec, Option

SHARE = Metric("accuracy")
ERROR = Metric("mean absolute error", "mm", higher_is_better=False, bounded=False)


def test_draws_are_whole_groups_by_seed() -> None:
    counts_RG = draw_counts(7, 500, 1)
    assert counts_RG.shape == (500, 7)
    assert (counts_RG.sum(axis=1) == 7).all()
    assert abs(counts_RG.mean() - 1) < 1e-9
    assert (draw_counts(7, 500, 1) == counts_RG).all()
    assert (draw_counts(7, 500, 2) != counts_RG).any()


def test_interval_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    names = ("a", "b", "c")
    truths, answers = list(rng.choice(names, 90)), list(rng.choice(names, 90))
    groups = [f"g{row // 3}" for row in range(90)]
    spec = AnswerSpec(id="q", type="choice", options=tuple(Option(name=name) for name in names))
    tally = tally_choice(spec, truths, answers)[0]
    found = estimate(tally, groups, draws=300, seed=4)
    order = sorted(set(groups))
    values = []
    for counts_G in draw_counts(30, 300, 4):
        rows = [r for g, n in zip(order, counts_G, strict=True) for r in range(90) if groups[r] == g for _ in range(n)]
        recalls = [
            np.mean([answers[r] == name for r in rows if truths[r] == name])
            for name in names
            if any(truths[r] == name for r in rows)
        ]
        values.append(np.mean(recalls))
    assert (found.low, found.high) == pytest.approx(interval(np.array(values), 30))
    assert (found.n, found.groups, found.exact) == (90, 30, None)


def test_quantiles_are_widened_for_few_groups() -> None:
    assert widened_alpha(20) / 2 == pytest.approx(norm.cdf(-np.sqrt(20 / 19) * t.ppf(0.975, 19)))
    assert widened_alpha(5) < widened_alpha(20) < widened_alpha(1000) < 0.05
    assert widened_alpha(100_000) == pytest.approx(0.05, abs=1e-4)


def test_exact_interval_is_clopper_and_pearsons() -> None:
    assert exact_interval(0.8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)  # published table
    assert exact_interval(1.0, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert exact_interval(0.0, 59)[1] == pytest.approx(1 - 0.025 ** (1 / 59))


def test_few_or_equal_groups_get_the_exact_interval() -> None:
    few = estimate(mean_tally(SHARE, np.array([1.0, 0, 1, 1])), list("abcd"))
    assert few.note == "too few groups"
    assert few.exact == pytest.approx(exact_interval(0.75, 4))
    alike = estimate(mean_tally(SHARE, np.ones(40)), [str(row // 2) for row in range(40)])
    assert (alike.low, alike.high, alike.note) == (1, 1, "all groups alike")
    assert alike.exact == pytest.approx(exact_interval(1.0, 20))
    one = estimate(mean_tally(SHARE, np.array([1.0, 0.0])), ["a", "a"])
    assert (one.value, one.low, one.high) == (0.5, None, None)
    none = estimate(mean_tally(SHARE, np.array([np.nan])), ["a"])
    assert (none.value, none.low, none.n) == (None, None, 0)


def test_gain_is_paired_and_positive_is_better() -> None:
    rng = np.random.default_rng(0)
    hard_N = rng.random(200) * 10
    groups = [str(row // 4) for row in range(200)]
    own, other = mean_tally(ERROR, hard_N), mean_tally(ERROR, hard_N + 0.5 + 0.1 * rng.random(200))
    gain = estimate_gain(own, other, groups)
    assert gain.low is not None and gain.high is not None
    assert 0.5 < gain.low < gain.high < 0.6  # unpaired, the spread would be that of hard_N
    back = estimate_gain(other, own, groups)
    assert back.value == pytest.approx(-(gain.value or 0))


def test_rounding_decides_nothing() -> None:
    """The same score summed in another order is a tie, not a loss by 1e-17."""
    scores_N, groups = np.array([0.1, 0.2, 0.3] * 8), [str(row // 3) for row in range(24)]
    other_N = scores_N[::-1].copy()
    assert 0.1 + 0.2 + 0.3 > 0.3 + 0.2 + 0.1
    for first, second in ((scores_N, other_N), (other_N, scores_N)):
        gain = estimate_gain(mean_tally(SHARE, first), mean_tally(SHARE, second), groups)
        assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_gain_leaves_out_what_either_does_not_score() -> None:
    own, other = (mean_tally(ERROR, np.array(marks)) for marks in ([1.0, np.nan, 3, 4], [2.0, 9, np.nan, 8]))
    gain = estimate_gain(own, other, list("abcd"))
    assert (gain.value, gain.n, gain.groups) == (2.5, 2, 2)
    assert estimate_gain(own, mean_tally(ERROR, np.full(4, np.nan)), list("abcd")).value is None


def test_20_000_items_in_2_500_groups_take_seconds() -> None:
    rng = np.random.default_rng(0)
    own, other = (mean_tally(SHARE, (rng.random(20_000) < 0.7).astype(float)) for _ in range(2))
    groups = [str(row // 8) for row in range(20_000)]
    start = process_time()
    estimate_gain(own, other, groups, draws=10_000, seed=99)
    assert process_time() - start < 5  # of one core; about 1 s


@pytest.mark.parametrize("groups", [20, 50])
def test_intervals_cover(groups: int) -> None:
    rng = np.random.default_rng(groups)
    marks_GS = correlated_marks(20_000, 4, 0.7, rng)
    between = np.cov(marks_GS[:, 0], marks_GS[:, 1])
    assert between[0, 1] / between[0, 0] == pytest.approx(0.5, abs=0.02)
    cell = measure_cell(0.7, groups, 2000, pairs=False)
    assert 0.93 <= (cell["ours"] or 0) <= 0.97
    assert (cell["naive"] or 1) < 0.85


def test_the_decision_quotes_the_coverage_that_is_measured() -> None:
    text = (Path(__file__).parents[2] / "docs" / "decisions" / "bootstrap.md").read_text()
    for accuracy, groups in CELLS:
        assert f"| {accuracy} | {groups} |" in text
    cell = measure_cell(0.9, 10, 500, pairs=False)
    assert (cell["plain"] or 1) < (cell["ours"] or 1) < 0.93 < (cell["exact"] or 0)
