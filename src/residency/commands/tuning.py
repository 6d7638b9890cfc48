"""Commands about models: list them, train the embedded one, fine-tune by a recipe."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from residency.commands.app import Json, Seed, app
from residency.tell import model_table, out_console, prompt_table, say, tell


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (see recipes/).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in train.epochs=3 or fold=all.")] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a model as a recipe says, prove it before the first step, and answer the test split in every way.

    The same command goes on with a run that was cut off. Ctrl-C ends with a checkpoint.
    """
    from residency.exam import examine_fold
    from residency.folder import run_folders
    from residency.recipe import load_recipe

    asked = load_recipe(recipe, overrides or [])
    done = f"residency evaluate {asked.out / asked.name}"
    results = []
    for fold, run in run_folders(asked):
        say(f"{run}: fold {fold}")
        results.append(examine_fold(asked, run, fold, say=say))
        if results[-1].predicted is None:
            raise KeyboardInterrupt
    folds = {"folds": [result.model_dump(mode="json") for result in results]}
    tell(folds if as_json else {"runs": [str(run) for _, run in run_folders(asked)]}, as_json, next=done)


@app.command()
def variants(
    recipe: Annotated[Path, typer.Argument(help="A recipe with `variants` (recipes/paligemma-cells.yaml).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in model=FOLDER.")] = None,
    rate: Annotated[int, typer.Option(min=1, help="How many images' answers the sheet for ratings holds.")] = 20,
    ratings: Annotated[list[Path] | None, typer.Option(help="A rater's sheet, filled in; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Tune a recipe's model and ask its variants the same as they are: scores, seconds an image, people's ratings.

    The same command goes on after a stop, and reads the sheet of ratings once it is filled in.
    """
    from residency.recipe import load_recipe
    from residency.variants.table import compare_variants, show_variants

    found = compare_variants(load_recipe(recipe, overrides or []), say, rate=rate, ratings=ratings or [])
    if found is None:
        raise KeyboardInterrupt
    if as_json:
        tell(found, True)
        return
    heads, rows = show_variants(found)
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for row in rows:
        table.add_row(*row)
    out_console.print(table)
    out_console.print(f"{found.images} images of {found.groups} groups; {found.note}", markup=False)
    out_console.print(f"to rate: {found.sheet}; fill in its column, then give the same command again", markup=False)


@app.command()
def prompts(
    model: Annotated[str, typer.Argument(help="A run folder, or a base model's short name or folder.")],
    data: Annotated[Path | None, typer.Option(help="The dataset; left out, the run's own.")] = None,
    choices: Annotated[
        Path | None, typer.Option(help="YAML of systems, prompts, shots, seeds (docs/prompts.md).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many validation images, whole groups.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; left out, RUN/prompts or prompts/MODEL.")] = None,
    as_json: Json = False,
) -> None:
    """Search the words a model is best asked in, on validation items alone: system, wording, examples, their order.

    The same command goes on after a stop.
    """
    from residency.evaluate.bootstrap import FEW_GROUPS
    from residency.prompting.search import FILE, search_prompts

    is_run = (Path(model) / "config.yaml").is_file()
    folder = out or (Path(model) / "prompts" if is_run else Path("prompts") / Path(model).name)
    search = search_prompts(model, data, folder, say, choices=choices, limit=limit)
    if as_json:
        tell(search, True)
        return
    out_console.print(prompt_table(search))
    few = "" if search.groups >= FEW_GROUPS else f", too few for intervals to be trusted ({FEW_GROUPS} or more are)"
    out_console.print(f"{search.samples} answers of {search.groups} groups{few}; {search.note}", markup=False)
    for best in search.best:
        of = "any number of" if best.shots is None else str(best.shots)
        out_console.print(f"\nbest with {of} examples:\n{best.recipe}", markup=False)
    named = "" if is_run else f" --data {search.data}"
    out_console.print(f"\nnext: residency predict {model}{named} --prompts {folder / FILE}", markup=False)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models with a short name: where from, under which licence, how large. Nothing is downloaded."""
    from residency.models.names import FORMULA, KNOWN

    if as_json:
        tell(list(KNOWN.values()), True)
        return
    out_console.print(model_table(list(KNOWN.values())))
    out_console.print(f"{FORMULA}\nnext: residency train RECIPE model=NAME", markup=False)


@app.command()
def pretrain(
    studies: Annotated[list[Path], typer.Argument(help="Folders of `residency phantom`.")],
    out: Annotated[Path, typer.Option(help="Folder for the model; the same command goes on after a stop.")],
    start: Annotated[str | None, typer.Option(help="A nano to go on from; left out, from nothing.")] = None,
    naming_steps: Annotated[int, typer.Option(min=0, help="Optimizer steps of the tower alone.")] = 2400,
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps of the language model.")] = 2000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the embedded model on simulated studies, from nothing or further (hours, or minutes on a GPU)."""
    from residency.pretrain.nano import GOING_ON, Pretraining, pretrain_nano

    asked = {"start": start, "naming_steps": naming_steps, "steps": steps, "seed": seed}
    settings = Pretraining.model_validate(asked | (GOING_ON if start else {}))
    tell(pretrain_nano(studies, out, settings), as_json)
