"""Commands about what a training is for: search its settings, take the tuned model elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from residency.commands.app import Json, app
from residency.tell import out_console, say, tell

if TYPE_CHECKING:
    from residency.sweep import Sweep


@app.command()
def sweep(
    recipe: Annotated[Path, typer.Argument(help="A recipe (see recipes/).")],
    settings: Annotated[
        list[str], typer.Argument(help="key=value,value of any dotted key; lr and rank are short for the usual two.")
    ],
    as_json: Json = False,
) -> None:
    """Train every combination of settings and compare them on the validation groups; the test split is not read.

    The same command goes on where it stopped, and trains nothing twice. Ctrl-C ends with a checkpoint.
    """
    from residency.sweep import run_sweep

    done = run_sweep(recipe, settings, say)
    if done.left:
        say(f"interrupted, {done.left} left; go on with: residency sweep {recipe} {' '.join(settings)}")
        raise typer.Exit(130)
    if as_json:
        tell(done, True)
        return
    out_console.print(_sweep_table(done))
    told = f"compared on {done.validation_samples} samples of {done.validation_groups} validation groups; {done.note}"
    out_console.print(f"{told}\nbest recipe: {done.best}\nnext: residency train {done.best}", markup=False)


def _sweep_table(sweep: "Sweep") -> Table:
    """Return a sweep's combinations, the best by validation first: settings, score, each question's own, steps."""
    settings = list(sweep.combinations[0].settings)
    questions = list(dict.fromkeys(id for one in sweep.combinations for id in one.by_question))
    heads = [*settings, "score", *questions, "best step"]
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in sweep.combinations:
        figures = [one.score, *(one.by_question.get(id) for id in questions)]
        shown = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
        step = "not trained" if one.error else f"{one.best_step} of {one.steps}"
        table.add_row(*(str(one.settings[key]) for key in settings), *shown, step)
    return table
