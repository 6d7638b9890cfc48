"""Commands about evidence: answer a split, score the answers, write the report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from residency.commands.app import Json, app
from residency.errors import UserError
from residency.tell import deletion_table, out_console, place_table, score_table, tell
from residency.types import MODES, Mode, SplitName

Engine = Literal["local", "ray"]
Way = Literal["own", "base", "blind", "shuffled", "mute", "all"]


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, or a base model's short name or folder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value of how to ask: retrieval.k=3, predict.tiles.side=640.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Another dataset than the run's.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset.")] = "test",
    mode: Annotated[Way, typer.Option("--as", help="One way of answering, or all five.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Folder for the predictions; left out, the run's own.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Ask as a search found best: prompts.json.")] = None,
    shots: Annotated[int | None, typer.Option(help="With --prompts: the best with so many examples.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="This process, or the workers of a Ray cluster (docs/several-gpus.md).")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Ray: how many; left out, one a GPU or a core.")] = None,
    as_json: Json = False,
) -> None:
    """Answer a split: as tuned, as the base, with a blank image, another patient's image, another question."""
    from residency.exam import predict_model, predict_runs
    from residency.models.registry import read_run

    if shots is not None and prompts is None:
        raise UserError("--shots says which of a search's prompts to take", do="--prompts prompts.json")
    asking = None
    if prompts:
        from residency.prompting.search import take_best

        if engine == "ray":
            raise UserError("--prompts is for one process", found="--engine ray", do="leave --engine out")
        folder = prompts if prompts.is_dir() else prompts.parent
        out = out or folder / f"predictions{'' if shots is None else f'-{shots}'}"
        asking, searched = take_best(prompts, model, shots, out)
        data = data or searched
    modes: tuple[Mode, ...] = MODES if mode == "all" else (mode,)
    runs = [Path(model), *sorted(Path(model).glob("fold-*"))]
    if runs := [run for run in runs if (run / "config.yaml").is_file()]:
        result = predict_runs(
            runs,
            data=data,
            split=split,
            modes=modes,
            floors=mode == "all",
            out=out,
            engine=engine,
            workers=workers,
            asking=asking,
            overrides=overrides or (),
        )
    elif data is None:
        raise UserError(
            f"{model} is not a run, and no dataset was named",
            found="no config.yaml in it" if Path(model).is_dir() else "no such folder",
            do="name a run's folder; or, to ask a base model, a dataset too: --data DATASET --as base",
        )
    elif mode not in ("base", "all"):
        raise UserError(f"{model} is not tuned, so it answers in one way", found=f"--as {mode}", allowed="--as base")
    else:
        folder = out or Path("predictions")
        given = overrides or ()
        result = predict_model(
            model, data, folder, split, engine=engine, workers=workers, asking=asking, overrides=given
        )
    answered = data or (read_run(runs[0]).data if runs else "DATASET")
    elsewhere = f"{result.files[0]} --data {answered}" if result.files else ""
    tell(result, as_json, next=f"residency evaluate {elsewhere if data or out or overrides else model}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or a predictions file.")],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset, for a run folder.")] = "test",
    as_json: Json = False,
) -> None:
    """Score predictions by question with 95% intervals by group, beside base, majority, blind, shuffled and mute."""
    from residency.evaluate.examine import evaluate_file, evaluate_run
    from residency.report.places import show_places

    examination = evaluate_file(run, data) if run.is_file() else evaluate_run(run, data, split=split)
    if as_json:
        tell(examination, True)
        return
    for warned in examination.warnings:
        if warned.kind in ("leak", "does-not-look"):
            out_console.print(f"warning: {warned.message}", markup=False)
    out_console.print(score_table(examination))
    for table in show_places(examination):
        out_console.print(place_table(table))
    if "own" in examination.ran:
        out_console.print(examination.tallied.sentence(), markup=False)
    for copying in examination.copying:
        if copying.of == "own" and not copying.question:
            out_console.print(copying.sentence(), markup=False)
    if run.is_dir():
        out_console.print(f"next: residency report {run}", markup=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder that was evaluated.")], as_json: Json = False
) -> None:
    """Write the run's report: one page, self-contained, for a clinician to read."""
    from residency.report.card import write_card
    from residency.report.page import write_report

    page = write_report(run)
    written = {"report": str(page)} | ({"card": str(write_card(run))} if (run / "adapter").is_dir() else {})
    tell(written, as_json, next=f"open {page} in a browser")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path | None, typer.Option(help="Another dataset than the run's.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset.")] = "test",
    questions: Annotated[str, typer.Option(help="Some questions only: q1,q3.")] = "",
    images: Annotated[int | None, typer.Option(min=1, help="So many images, drawn at random; all if left out.")] = None,
    share: Annotated[float, typer.Option(min=0.01, max=0.5, help="Deleted share of the sector's area.")] = 0.1,
    draws: Annotated[int, typer.Option(min=1, help="Random regions that each marked one is held against.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Folder for maps and figures; left out, the run's own.")] = None,
    as_json: Json = False,
) -> None:
    """Draw where in the image each answer comes from, and test it: delete that place, and as large places elsewhere."""
    from residency.explain.split import explain_split

    wanted = [name.strip() for name in questions.split(",") if name.strip()]
    explanation = explain_split(
        run, data=data, split=split, questions=wanted, images=images, share=share, draws=draws, out=out
    )
    if as_json:
        tell(explanation, True)
        return
    out_console.print(deletion_table(explanation))
    out_console.print(f"maps: {explanation.folder}", markup=False)
