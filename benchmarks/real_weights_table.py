"""Cells of five folds in, a Markdown table out: scores with intervals by group, gains, and how many groups decide them.

Every sample is tested in one fold, so the folds' marks are pooled and whole groups (patients, images) are drawn once.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from fewshot_cells import Cell
from fewshot_table import markdown, tell_interval
from residency.evaluate.bootstrap import Estimate, draw_sums, estimate, estimate_gain, sum_groups
from residency.evaluate.choice import tally_choice
from residency.evaluate.metric import Tally
from residency.types import AnswerSpec

DRAWS = 10_000
POWERED = 1.96 + 0.84
"""Standard errors at which a difference is found at the 5% level in 80% of repetitions (two-sided, normal)."""
HEADINGS = {
    "a": ("Fetal planes, 4 classes, 5 folds by patient: balanced accuracy", "patients"),
    "closed": ("VQA-RAD, closed questions, 5 folds by image: accuracy", "images"),
}
TITLES = {
    "own": "dino-smol, tuned",
    "blind": "dino-smol, tuned, blind (the mean image)",
    "majority": "majority answer",
    "words": "the question's words alone",
    "probe": "linear probe on dino-smol's tower",
    "knn": "nearest neighbours on dino-smol's tower",
}


def write_table(cells: Sequence[Cell]) -> str:
    """Return a table for each experiment that has cells."""
    parts = []
    for name, (heading, groups) in HEADINGS.items():
        rows = {row: [cell for cell in cells if (cell.experiment, cell.row) == (name, row)] for row in TITLES}
        if rows["own"]:
            parts.append(f"**{heading}**\n\n" + _table({row: held for row, held in rows.items() if held}, groups))
    return "\n\n".join(parts) + "\n"


def deciding_groups(own: Tally, other: Tally, group_N: Sequence[str]) -> int | None:
    """Return how many groups like these would show the difference, were it as large as here (None: there is none).

    The standard error is that of the difference's bootstrap over groups, and shrinks with the root of their number.
    """
    width = own.rows_ND.shape[1]
    rows_GD = sum_groups(np.hstack([own.rows_ND, other.rows_ND]), group_N)

    def gain(sums_RD: np.ndarray) -> np.ndarray:
        return own.value(sums_RD[:, :width]) - other.value(sums_RD[:, width:])

    difference = float(gain(rows_GD.sum(axis=0, keepdims=True))[0])
    if not difference:
        return None
    error = float(np.nanstd(gain(draw_sums(rows_GD, DRAWS, 0))))
    return ceil(len(rows_GD) * (POWERED * error / difference) ** 2)


def _table(rows: dict[str, list[Cell]], groups: str) -> str:
    own, group_N = _pool(rows["own"])
    body = []
    for row, cells in rows.items():
        tally, same = _pool(cells)
        assert same == group_N
        shown = [TITLES[row], tell_interval(estimate(tally, group_N, DRAWS), "{:.2f}")]
        if row != "own":
            better: Estimate = estimate_gain(own, tally, group_N, DRAWS)
            needed = deciding_groups(own, tally, group_N)
            shown += [tell_interval(better, "{:+.2f}"), "no difference" if needed is None else f"{needed:,}"]
        body.append([*shown, "", ""][:4])
    told = f"{own.rows_ND.shape[0]} answers about {len(set(group_N))} {groups}, {len(rows['own'])} of 5 folds; "
    minutes = sum(cell.seconds for cell in rows["own"]) / 60
    told += f"training {minutes:.0f} min, peak {max(cell.memory_mb for cell in rows['own']):.0f} MB.\n\n"
    return told + markdown(["", "score (95%)", "dino-smol is better by", f"{groups} that would decide it"], body)


def _pool(cells: Sequence[Cell]) -> tuple[Tally, list[str]]:
    """Return the primary tally over all folds' samples and each one's group."""
    marks = sorted((mark for cell in cells for mark in cell.marks), key=lambda mark: mark[0])
    tallies = tally_choice(AnswerSpec(id="text", type="text"), [m[2] for m in marks], [m[3] for m in marks])
    return tallies[cells[0].experiment == "closed"], [mark[1] for mark in marks]
