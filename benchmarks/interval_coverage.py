"""Simulated examinations with a known true accuracy in; how often each kind of 95% interval holds it out.

    python benchmarks/interval_coverage.py                  # 2,000 simulations a cell: a minute
    python benchmarks/interval_coverage.py --simulations 500

Each patient has four answers, right with a chance of the patient's own (a beta law whose mean is the accuracy and which
makes the answers of one patient correlate by 0.5). `ours` is `residency.evaluate.bootstrap.estimate` as every score has
it; `plain` the percentile bootstrap by patient without widened ends; `naive` the bootstrap of single answers, as if
they were independent; `exact` the interval that stands beside a score where patients are few (none: no such cell).
`difference` is the paired difference of two models on the same patients, by `estimate_gain`.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.bootstrap import draw_sums, estimate, estimate_gain
from residency.evaluate.metric import Metric, mean_tally

SIZE, DRAWS, CORRELATION = 4, 2000, 0.5
CELLS = tuple((accuracy, groups) for accuracy in (0.7, 0.9) for groups in (10, 20, 50))
SHARE = Metric("accuracy")
SEEDS = 10


def correlated_marks(groups: int, size: int, accuracy: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return right (1) and wrong (0) marks, [G, S], whose correlation within a group is 0.5."""
    means_G = rng.beta(accuracy, 1 - accuracy, size=groups)  # correlation = 1 / (1 + a + b)
    return (rng.random((groups, size)) < means_G[:, None]).astype(np.float64)


def measure_cell(
    accuracy: float, groups: int, simulations: int, seed: int = 0, pairs: bool = True
) -> dict[str, float | None]:
    """Return the share of simulations in which each interval holds the truth."""
    rng = np.random.default_rng([seed, groups, round(100 * accuracy)])
    names = [str(group) for group in range(groups) for _ in range(SIZE)]
    held: dict[str, list[bool]] = {"ours": [], "plain": [], "naive": [], "exact": [], "difference": []}
    for turn in range(simulations):
        marks_GS = correlated_marks(groups, SIZE, accuracy, rng)
        drawn = turn % SEEDS
        own = mean_tally(SHARE, marks_GS.ravel())
        found = estimate(own, names, DRAWS, drawn)
        by_group = draw_sums(marks_GS.mean(axis=1, keepdims=True), DRAWS, drawn)[:, 0] / groups
        by_item = draw_sums(marks_GS.reshape(-1, 1), DRAWS, drawn)[:, 0] / marks_GS.size
        held["ours"].append(_holds((found.low, found.high), accuracy))
        held["plain"].append(_holds(tuple(np.quantile(by_group, [0.025, 0.975])), accuracy))
        held["naive"].append(_holds(tuple(np.quantile(by_item, [0.025, 0.975])), accuracy))
        if pairs:
            alike_G = rng.random(groups) < 0.5
            other_GS = np.where(alike_G[:, None], marks_GS, correlated_marks(groups, SIZE, accuracy, rng))
            gain = estimate_gain(own, mean_tally(SHARE, other_GS.ravel()), names, DRAWS, drawn)
            held["difference"].append(_holds((gain.low, gain.high), 0.0))
        if found.exact:
            held["exact"].append(_holds(found.exact, accuracy))
    return {name: float(np.mean(marks)) if len(marks) > simulations // 2 else None for name, marks in held.items()} | {
        "accuracy": accuracy,
        "groups": groups,
    }


def make_table(cells: list[dict[str, float | None]], simulations: int) -> str:
    """Return the cells as a Markdown table."""
    columns = ("ours", "plain", "naive", "exact", "difference")
    lines = [
        f"Coverage of 95%: {simulations} simulations a row, {SIZE} answers a patient correlated by {CORRELATION}",
        "",
        "| accuracy | patients | " + " | ".join(columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for cell in cells:
        shown = ["–" if cell[name] is None else f"{100 * float(cell[name] or 0):.1f}%" for name in columns]
        lines.append(f"| {cell['accuracy']} | {cell['groups']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _holds(ends: tuple[float | None, ...], truth: float) -> bool:
    low, high = ends
    return low is not None and high is not None and low <= truth <= high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    simulations = parser.parse_args().simulations
    print(make_table([measure_cell(accuracy, groups, simulations) for accuracy, groups in CELLS], simulations))


if __name__ == "__main__":
    main()
