"""What a command tells: results in, lines for a person on the terminal or JSON for a program out."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from residency.errors import UserError
from residency.processes import await_first, is_first
from residency.types import Score

PIPED_WIDTH = 160
out_console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
error_console = Console(stderr=True, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """Tell a person: on standard error, so that --json keeps standard output to itself."""
    if is_first():
        error_console.print(line, markup=False)


def tell_error(error: Exception) -> None:
    """Tell an error that a user can mend and end with its exit code; return where it is none.

    Of several processes the first tells what is wrong with all.
    """
    if isinstance(error, OSError) and error.errno is not None:  # the system's own: a full disk, a missing right
        what = f"{error.filename or 'a file'} cannot be read or written"
        do = "free some space, or ask for the right to it; then give the same command again"
        error = UserError(what, found=error.strerror, do=do, exit_code=1)
    if not isinstance(error, UserError):
        return
    await_first()
    error_console.print(f"error: {error}", style="red" if error_console.is_terminal else None, markup=False)
    raise SystemExit(error.exit_code) from None


def tell(result: Any, as_json: bool, *, next: str | None = None, lines: tuple[str, ...] = ()) -> None:
    """Print a result: as JSON, or a line for each field that says something, and the command that comes next."""
    if not is_first():
        return
    values = TypeAdapter(type(result)).dump_python(result, mode="json", by_alias=True)
    if as_json:
        sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        return
    next = values.pop("next_command", next)
    for key, value in values.items():
        if value not in (None, (), [], {}) and (not lines or key in lines):
            out_console.print(f"{key.replace('_', ' ')}: {_short(value)}", markup=False)
    if next:
        out_console.print(f"next: {next}", markup=False)


def score_table(examination: Any) -> Table:
    """Return the primary score of each question with its interval, beside base, blind and the floors."""
    outside = [name for name in ("words", "detector") if name in examination.ran]
    columns = ("own", "base", "majority", "blind", "shuffled", "mute", "probe", "textprobe", "knn", *outside)
    primary = {q.id: q.metric for q in examination.questions}
    found = {(s.question, s.of): s for s in examination.scores if s.subset == "all" and s.metric == primary[s.question]}
    heads = ["question", "score", columns[0], "95% interval", *columns[1:]]
    table = Table(*(Column(head, overflow="fold", no_wrap=head != "score") for head in heads), box=None)
    for question in examination.questions:
        own, *others = (found.get((question.id, name)) for name in columns)
        interval = "-" if own is None or own.low is None else f"[{own.low:.2f}, {own.high:.2f}]"
        table.add_row(question.id, question.metric, _score_cell(own), interval, *map(_score_cell, others))
    return table


def place_table(told: Any) -> Table:
    """Return the first four scores of a question that asks for boxes or outlines, by answerer, and of the tuned model
    and a detector by label; intervals stand below, so that a terminal of 80 letters holds them."""
    heads = [told.question.id, "label", *told.metrics[:4]]
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for who, label, _, cells in told.rows:
        if label != "all labels" and who not in ("tuned model", "detector"):
            continue
        table.add_row(who, label, *(cell.replace(" [", "\n[") for cell in cells[:4]))
    return table


def prompt_table(search: Any) -> Table:
    """Return the ways of asking that were tried, the best first, with their figure on validation."""
    heads = ("score", "95% interval", "examples", "seed", "seconds an answer", "system", "prompt")
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in search.tried:
        figure, shots = one.figure, one.asked.shots
        ends = "-" if figure.low is None else f"[{figure.low:.2f}, {figure.high:.2f}]"
        score = "-" if figure.value is None else f"{figure.value:.3f}"
        ends = "cannot be asked" if one.error else ends
        examples = f"{shots.count} as {one.shown}" if shots.count else "none"
        seed = f"{shots.seed}{' reversed' if shots.order == 'reversed' else ''}" if shots.count else ""
        words = (Text(text.replace("\n", "\\n")) for text in (one.asked.system, one.asked.prompt))
        table.add_row(score, ends, examples, seed, f"{one.seconds:.3f}", *words)
    return table


def deletion_table(explanation: Any) -> Table:
    """Return what answers lose without the places that their heat maps mark, and without others, by question."""
    heads = ("question", "answers", "empty maps", "marked", "random", "difference", "95% interval", "groups")
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for row in explanation.outcomes:
        ends = "-" if row.low is None else f"[{row.low:.2f}, {row.high:.2f}]"
        lost = ("-" if value is None else f"{value:.2f}" for value in (row.marked, row.random, row.gain))
        table.add_row(row.question, f"{row.answers}", f"{row.empty}", *lost, ends, f"{row.groups}")
    table.caption = f"nats of an answer's log-likelihood lost by deleting {explanation.share:.0%} of the sector"
    return table


def model_table(models: Sequence[Any]) -> Table:
    """Return known models, a line each, with GiB to tune them."""
    heads = ["model", "on the hub", "family", "licence", "asks for terms", "parameters", "32-bit", "16-bit", "4-bit"]
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for model in models:
        memory = (f"{gib:.2g}" for gib in (model.tune_32_gib, model.tune_16_gib, model.tune_4_gib))
        size = f"{model.parameters / 1e9:.2f}B" if model.parameters >= 1e9 else f"{model.parameters / 1e6:.0f}M"
        where = model.hub or "in the package"
        table.add_row(model.name, where, model.family, model.licence, "yes" if model.terms else "no", size, *memory)
    return table


def _score_cell(score: Score | None) -> str:
    return "-" if score is None or score.value is None else f"{score.value:.2f}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        shown = [_short(item) for item in value[:8]]
        return "\n  " + "\n  ".join(shown) + (f"\n  and {len(value) - 8} more" if len(value) > 8 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    return str(value)
