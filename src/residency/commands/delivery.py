"""Commands about what a training is for: search its settings, take the tuned model elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
        raise KeyboardInterrupt
    if as_json:
        tell(done, True)
        return
    out_console.print(_sweep_table(done))
    told = f"compared on {done.validation_samples} samples of {done.validation_groups} validation groups; {done.note}"
    out_console.print(f"{told}\nbest recipe: {done.best}\nnext: residency train {done.best}", markup=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A trained run's folder; of a run with folds, one fold's.")],
    out: Annotated[Path | None, typer.Option(help="A new folder; left out, RUN/export.")] = None,
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="Numbers of the weights; auto: the base checkpoint's own, 16 bits for a run on 4."),
    ] = "auto",
    floor: Annotated[float, typer.Option(min=0, max=1, help="The share of answers that must be the run's own.")] = 0.9,
    most: Annotated[int, typer.Option(min=1, help="At most so many validation samples are compared.")] = 256,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of an older export.")] = False,
    as_json: Json = False,
) -> None:
    """Merge a run's adapter into its base: a folder that transformers loads by itself, checked to answer alike."""
    from residency.export.write import export_run

    done = export_run(run, out, say, dtype=dtype, floor=floor, most=most, replace_old=replace)
    if as_json:
        tell(done, True)
        return
    told = [f"folder: {done.folder} ({done.architecture}, {done.dtype}, {done.megabytes:g} MB)"]
    told += [f"files: {', '.join(done.files)}", f"compared on {done.compared_on}"]
    told += [agreement.sentence() for agreement in done.agreements]
    differing = [one for agreement in done.agreements for one in agreement.disagreements]
    told += [f"  {one.id}: `{one.exported}`, the run itself `{one.run}`" for one in differing]
    out_console.print("\n".join(told), markup=False)
    out_console.print(f"next: how to load it stands in {done.folder}/README.md", markup=False)


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
