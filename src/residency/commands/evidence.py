"""Commands about how sure one may be: models head to head, claims judged, confidence, learning from more images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from residency.commands.app import Json, Seed, app
from residency.errors import UserError
from residency.tell import out_console, tell
from residency.types import SplitName

if TYPE_CHECKING:
    from residency.evaluate.claims.measure import ClaimReport
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


@app.command()
def judge(
    predictions: Annotated[Path | None, typer.Argument(help="A run folder, or a predictions file.")] = None,
    judge: Annotated[str, typer.Option("--judge", help="rules; nli:MODEL; or http://HOST:PORT/v1#MODEL.")] = "rules",
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset, for a run folder.")] = "test",
    validate: Annotated[Path | None, typer.Option(help="Pairs that people labelled: agreement instead.")] = None,
    remote: Annotated[bool, typer.Option("--remote", help="Allow a server beyond this machine's network.")] = False,
    as_json: Json = False,
) -> None:
    """Judge answers claim by claim: what the reference entails, what it contradicts, what it leaves open."""
    from residency.judges.named import open_judge

    if (predictions is None) == (validate is None):
        do = "residency judge RUN, or residency judge --validate FILE"
        raise UserError("name either predictions to judge or a file to validate by", do=do)
    opened = open_judge(judge, remote=remote)
    if validate:
        from residency.evaluate.claims.validate import validate_judge

        tell(validate_judge(opened.judge, opened.name, validate), as_json)
        return
    from residency.evaluate.claims.measure import judge_evidence
    from residency.evaluate.read import read_run, read_siblings
    from residency.files import write_json, write_lines

    assert predictions
    evidence = read_siblings(predictions, data) if predictions.is_file() else read_run(predictions, data, split)
    report, judged = judge_evidence(evidence, opened.judge, opened.name)
    prefix = "" if evidence.split == "test" else f"{evidence.split}."
    write_lines(evidence.folder / "scores" / f"{prefix}claims.jsonl", judged)
    write_json(evidence.folder / "scores" / f"{prefix}claims.json", report.model_dump(mode="json"))
    if as_json:
        tell(report, True)
        return
    for warned in report.warnings:
        out_console.print(f"warning: {warned.message}", markup=False)
    out_console.print(_claim_table(report))
    out_console.print(f"claims: {evidence.folder / 'scores' / f'{prefix}claims.jsonl'}", markup=False)


def _claim_table(report: "ClaimReport") -> Table:
    """Return the four scores of each mode with their intervals, and how many claims they are of."""
    from residency.report.view import format_score

    heads = ["", "images (groups)", "claims said/true", *(score.metric for score in report.tables[0].scores), "failed"]
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in report.tables:
        shown = (format_score(score, "") for score in one.scores)
        counts = f"{one.images} ({one.groups})", f"{one.said}/{one.true}"
        table.add_row(one.of, *counts, *shown, str(one.failed))
    return table


def _pair_table(pair: "Pair") -> Table:
    """Return a pair's questions, a line each, with the difference, its interval and the verdict."""
    from residency.report.versus import HEADS, show_rows

    table = Table(*(Column(head, overflow="fold") for head in HEADS), box=None)
    for row in show_rows(pair):
        table.add_row(*row)
    return table


@app.command()
def abstain(
    run: Annotated[Path, typer.Argument(help="A run folder whose validation split was predicted too.")],
    risk: Annotated[float, typer.Option(help="The share of wrong answers that is allowed among those given.")],
    question: Annotated[str | None, typer.Option(help="One question's id; left out, all of them together.")] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    as_json: Json = False,
) -> None:
    """Find the confidence below which not to answer so that a promised risk holds, or say that none can be promised."""
    from residency.evaluate.abstain import promise_risk
    from residency.evaluate.read import read_run
    from residency.files import write_json

    found = promise_risk(read_run(run, data), risk, question)
    write_json(run / "scores" / f"abstention{f'.{question}' if question else ''}.json", found.model_dump(mode="json"))
    if as_json:
        tell(found, True)
        return
    if found.threshold is None:
        out_console.print(f"{found.question}: {found.reason}", markup=False)
        return
    out_console.print(
        f"{found.question}: answer from confidence {found.threshold:.3f} on; at most {risk:.0%} of what is answered is "
        f"wrong (promised at 95%: {found.validation_wrong} wrong of {found.validation_answered} given in validation, "
        f"upper bound {found.upper_bound:.3f}).\ntest: {found.test_answered} of {found.test_answers} answered, "
        f"{found.test_wrong} wrong",
        markup=False,
    )


@app.command()
def curve(
    runs: Annotated[list[Path], typer.Argument(help="Three or more runs trained on more and more images.")],
    target: Annotated[float | None, typer.Option(help="A mean credit to reach, such as 0.8.")] = None,
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the runs' own.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for curve.json and curve.html.")] = Path("curve"),
    as_json: Json = False,
) -> None:
    """Draw the learning curve over annotated images and say how many more a target needs, with its uncertainty."""
    from residency.evaluate.curve import extrapolate
    from residency.report.learning import write_curve

    found = extrapolate(runs, target, data)
    page = write_curve(found, out)
    if as_json:
        tell(found, True)
        return
    table = Table(*(Column(head) for head in ("run", "annotated images", "mean credit", "95% interval")), box=None)
    for point in found.points:
        ends = "-" if point.low is None else f"[{point.low:.2f}, {point.high:.2f}]"
        table.add_row(point.run, str(point.images), f"{point.score:.3f}", ends)
    out_console.print(table)
    if found.told:
        out_console.print(found.told, markup=False)
    out_console.print(f"page: {page}", markup=False)
