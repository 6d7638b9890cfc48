"""Cells in, Markdown tables out: scores with their intervals, differences paired by patient, ablations.

A sample's statistics are first averaged over the draws that test it, then whole groups (patients) are drawn, so a
patient who is tested in nine draws still counts once. Intervals are those of residency.evaluate.bootstrap.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from fewshot_cells import Cell, Mark
from fewshot_data import EXPERIMENTS, Experiment
from fewshot_nano import ABLATIONS, CLOSED
from fewshot_rows import ABLATED, TITLES
from residency.evaluate.bootstrap import Estimate, estimate, estimate_gain
from residency.evaluate.choice import tally_choice
from residency.evaluate.metric import Tally
from residency.evaluate.number import tally_number
from residency.types import AnswerSpec, Quantity

DRAWS = 10_000
AGAINST = ("lite-tuned", "lite-phantoms", "random", "probe", "lite-probe", "blind", "words")
Rows = Mapping[str, Sequence[Cell]]


def write_tables(cells: Sequence[Cell]) -> str:
    """Return every table that the cells allow."""
    parts = []
    for name, experiment in EXPERIMENTS.items():
        by_size: dict[int, dict[str, list[Cell]]] = {}
        for size in experiment.sizes:
            held: defaultdict[str, list[Cell]] = defaultdict(list)
            for cell in cells:
                if (cell.experiment, cell.size) == (name, size):
                    held[cell.row].append(cell)
            if held:
                by_size[size] = held
        if by_size:
            parts += [_score_table(experiment, by_size), _gain_table(experiment, by_size)]
            ablated = [rows for size, rows in by_size.items() if (name, size) in ABLATED]
            parts += [_ablation_table(rows, experiment.measures) for rows in ablated]
    return "\n\n".join(part for part in parts if part) + "\n"


def pool(cells: Sequence[Cell]) -> tuple[Tally, list[str], list[str]]:
    """Return the primary tally over the samples of all draws, each averaged over its draws, their groups and ids."""
    marks = [mark for cell in cells for mark in cell.marks]
    tally = _tally(cells[0].experiment, marks)
    ids = sorted({id for id, *_ in marks})
    place = {id: row for row, id in enumerate(ids)}
    rows_ND, counts_N = np.zeros((len(ids), tally.rows_ND.shape[1])), np.zeros(len(ids))
    scored_N = np.zeros(len(ids), dtype=np.bool_)
    for (id, *_), row_D, scored in zip(marks, tally.rows_ND, tally.scored_N, strict=True):
        rows_ND[place[id]] += row_D
        counts_N[place[id]] += 1
        scored_N[place[id]] |= scored
    group_of = {id: group for id, group, *_ in marks}
    averaged = Tally(tally.metric, rows_ND / counts_N[:, None], tally.value, scored_N)
    return averaged, [group_of[id] for id in ids], ids


def score(cells: Sequence[Cell]) -> Estimate:
    """Return a row's score over its draws, with its interval by group."""
    tally, groups, _ = pool(cells)
    return estimate(tally, groups, DRAWS)


def gain(own: Sequence[Cell], other: Sequence[Cell]) -> Estimate:
    """Return by how much `own` is better (positive: better) on the draws that both have."""
    common = {cell.draw for cell in own} & {cell.draw for cell in other}
    one, two = ([cell for cell in cells if cell.draw in common] for cells in (own, other))
    if not common:
        return Estimate(None, None, None, None, 0, 0)
    (tally, groups, ids), (against, _, same) = pool(one), pool(two)
    assert ids == same
    return estimate_gain(tally, against, groups, DRAWS)


def _tally(experiment: str, marks: Sequence[Mark]) -> Tally:
    truths, answers = [mark[2] for mark in marks], [mark[3] for mark in marks]
    if isinstance(truths[0], Quantity):
        return tally_number(AnswerSpec(id="number", type="number", unit=truths[0].unit), truths, answers)[0]
    spec = AnswerSpec(id="text", type="text")
    return tally_choice(spec, truths, answers)[1 if EXPERIMENTS[experiment].speaks else 0]


def _score_table(experiment: Experiment, by_size: Mapping[int, Rows]) -> str:
    lines = [[_size(size) for size in by_size], []]
    rows = [row for row in TITLES if any(row in held for held in by_size.values())]
    body = []
    for row in rows:
        last = max(size for size, held in by_size.items() if row in held)
        scores = [_shown(score(held[row]), held, row) if row in held else "" for held in by_size.values()]
        body.append([TITLES[row], *scores, *_cost(by_size[last][row])])
    headings = ["", *lines[0], "seconds of training", "peak MB"]
    return f"**({experiment.name}) {experiment.title}**\n\n" + markdown(headings, body)


def _gain_table(experiment: Experiment, by_size: Mapping[int, Rows]) -> str:
    body = []
    for other in AGAINST:
        gains = [
            _shown_gain(gain(held["tuned"], held[other])) if {"tuned", other} <= held.keys() else ""
            for held in by_size.values()
        ]
        if any(gains):
            body.append([TITLES[other], *gains])
    if not body:
        return ""
    return "nano tuned is better by (paired, by patient; above 0: better):\n\n" + markdown(
        ["than", *map(_size, by_size)], body
    )


def _ablation_table(rows: Rows, measures: bool) -> str:
    if "tuned" not in rows or not any(row in rows for row in ABLATIONS):
        return ""
    body = [["as shipped", _shown(score(rows["tuned"]), rows, "tuned"), "", *_cost(rows["tuned"])]]
    for row in ABLATIONS:
        if row in rows:
            change = _shown_gain(gain(rows[row], rows["tuned"]))
            body.append([row, _shown(score(rows[row]), rows, row), change, *_cost(rows[row])])
        else:
            why = "closed questions only" if measures and row in CLOSED else "as shipped, or not run"
            body.append([row, why, "", "", ""])
    return "The recipe changed, one thing at a time:\n\n" + markdown(
        ["", "score", "better than shipped by", "seconds of training", "peak MB"], body
    )


def _shown(found: Estimate, rows: Rows, row: str) -> str:
    """Return a score with its interval; draws still to come and answers that could not be read are counted."""
    if found.value is None:
        return "no answer could be read"
    most = max(len(cells) for cells in rows.values())
    unread = sum(mark[3] is None for cell in rows[row] for mark in cell.marks)
    notes = [f"{len(rows[row])} of {most} draws"] if len(rows[row]) < most else []
    notes += [f"{unread} of {sum(len(cell.marks) for cell in rows[row])} unread"] if unread else []
    return tell_interval(found, "{:.2f}" if found.value < 2 else "{:.1f}") + "".join(f"; {note}" for note in notes)


def _shown_gain(found: Estimate) -> str:
    if found.value is None:
        return ""
    return tell_interval(found, "{:+.2f}" if abs(found.value) < 2 else "{:+.1f}")


def tell_interval(found: Estimate, form: str) -> str:
    """Return a value and its 95% interval in words."""

    def write(value: float) -> str:
        return form.format(round(value, 2) + 0.0)  # no -0.00

    if found.value is None or found.low is None or found.high is None:
        return "" if found.value is None else write(found.value)
    return f"{write(found.value)} ({write(found.low)} to {write(found.high)})"


def _cost(cells: Sequence[Cell]) -> list[str]:
    return [f"{median(cell.seconds for cell in cells):.0f}", f"{median(cell.memory_mb for cell in cells):.0f}"]


def _size(size: int) -> str:
    return str(size) if size else "5 folds"


def markdown(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table; every column but the first is of numbers."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, rule, *body))
