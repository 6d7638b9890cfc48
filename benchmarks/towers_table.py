"""Cells and facts of learned towers in, Markdown tables out: what each costs, what it tells, how two of them differ.

Intervals as in `benchmarks/fewshot_table.py`: by patient (phantoms: the simulated patient), a sample averaged over the
draws that test it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fewshot_cells import Cell
from fewshot_table import DRAWS, gain, markdown, score, tell_interval
from residency.evaluate.bootstrap import Estimate, estimate
from residency.evaluate.choice import tally_choice
from residency.evaluate.sets import tally_sets
from residency.types import AnswerSpec
from towers_exam import TOLD
from towers_made import CANDIDATES

PAIRS = (*((name, "lite0") for name in CANDIDATES if name != "lite0"), ("davit-distilled", "davit"))
"""Who is held against whom: all against nano's own, distilled against not."""
COMPARED = (("a", 1), ("b", 100))
Held = Mapping[tuple[str, int], Mapping[str, Sequence[Cell]]]


def write_tower_tables(cells: Sequence[Cell], facts: Mapping[str, Mapping[str, Any]], ms: Mapping[str, float]) -> str:
    """Return the tables: cost and phantoms, real images, differences."""
    held: defaultdict[tuple[str, int], defaultdict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell.row in facts:
            held[cell.experiment, cell.size][cell.row].append(cell)
    parts = [_phantom_table(held, facts, ms), _real_table(held, list(facts))]
    if pairs := [pair for pair in PAIRS if set(pair) <= facts.keys()]:
        parts.append(_gain_table(held, pairs))
    return "\n\n".join(parts) + "\n"


def _phantom_table(held: Held, facts: Mapping[str, Mapping[str, Any]], ms: Mapping[str, float]) -> str:
    headings = ["", "parameters (M)", "ms an image", "steps", "category", "plane", "structures, F1"]
    body = []
    for name, known in facts.items():
        imitating = f"{known['imitating_steps']} + " if known["imitating_steps"] else ""
        costs = [f"{known['millions']:.2f}", f"{ms[name]:.1f}", f"{imitating}{known['steps']}"]
        told = [tell_interval(_score_phantoms(held[what, 0][name]), "{:.2f}") for what in TOLD]
        body.append([CANDIDATES[name].title, *costs, *told])
    return "Held-out phantoms, named by each tower's own head:\n\n" + markdown(headings, body)


def _score_phantoms(cells: Sequence[Cell]) -> Estimate:
    marks = [mark for cell in cells for mark in cell.marks]
    truths, answers, groups = [mark[2] for mark in marks], [mark[3] for mark in marks], [mark[1] for mark in marks]
    if cells[0].experiment == "structures":
        return estimate(tally_sets(AnswerSpec(id="set", type="set"), truths, answers)[0], groups, DRAWS)
    return estimate(tally_choice(AnswerSpec(id="name", type="text"), truths, answers)[1], groups, DRAWS)


def _real_table(held: Held, names: Sequence[str]) -> str:
    places = [place for place in held if place[0] in "ab"]
    body = [
        [CANDIDATES[name].title, *(_shown(score(held[place][name]), place[0]) for place in places)] for name in names
    ]
    return "Real images, linear probe on the frozen tower:\n\n" + markdown(["", *map(_heading, places)], body)


def _gain_table(held: Held, pairs: Sequence[tuple[str, str]]) -> str:
    places = [place for place in COMPARED if place in held]
    body = [
        [
            f"{CANDIDATES[own].title}, than {CANDIDATES[other].title}",
            *(_shown(gain(held[place][own], held[place][other]), place[0], "+") for place in places),
        ]
        for own, other in pairs
    ]
    return "Better by (paired, by patient; above 0: better):\n\n" + markdown(["", *map(_heading, places)], body)


def _heading(place: tuple[str, int]) -> str:
    what, size = place
    return f"(b) heads, {size} images, error in mm" if what == "b" else f"(a) planes, patients: {size}"


def _shown(found: Estimate, experiment: str, sign: str = "") -> str:
    return tell_interval(found, f"{{:{sign}.{1 if experiment == 'b' else 2}f}}")
