"""Commands about how sure one may be: models head to head, claims judged, confidence, learning from more images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from residency.commands.app import Json, Seed, app
from residency.tell import out_console, tell
from residency.types import SplitName

if TYPE_CHECKING:
    from residency.evaluate.contest import Pair


@app.command()
def compare(
    models: Annotated[list[Path], typer.Argument(help="Runs or predictions files; the first is A in every pair.")],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the runs' own.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset, for run folders.")] = "test",
    draws: Annotated[int, typer.Option(min=100, help="Resamples of whole groups.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for comparison.json, .md and .html.")] = Path("comparison"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say who wins, by question and overall: paired, drawn by patient, adjusted for the number of questions."""
    from residency.evaluate.compare import compare_paths
    from residency.report.versus import write_comparison

    comparison = compare_paths(models, data, split, draws, seed)
    page = write_comparison(comparison, out)
    if as_json:
        tell(comparison, True)
        return
    for warned in comparison.warnings:
        out_console.print(f"warning: {warned.message}", markup=False)
    for pair in comparison.pairs:
        out_console.print(_pair_table(pair))
        out_console.print(pair.sentence(), markup=False)
    out_console.print(f"page: {page}", markup=False)


def _pair_table(pair: "Pair") -> Table:
    """Return a pair's questions, a line each, with the difference, its interval and the verdict."""
    from residency.report.versus import HEADS, show_rows

    table = Table(*(Column(head, overflow="fold") for head in HEADS), box=None)
    for row in show_rows(pair):
        table.add_row(*row)
    return table
