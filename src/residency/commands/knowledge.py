"""Commands about what a model can know, and what is brought to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from residency.commands.app import Json, Seed, app
from residency.errors import UserError
from residency.tell import out_console, say, tell
from residency.types import Mode, SplitName

if TYPE_CHECKING:
    from residency.knowledge.adapt import What
    from residency.knowledge.trials import Known

Form = Literal["report", "each"]
Part = Literal["learned", "train", "val", "test"]
With = Annotated[
    str | None,
    typer.Option("--with", help="Free text: a language model's folder, or http://HOST:PORT/v1#MODEL."),
]
Remote = Annotated[bool, typer.Option("--remote", help="Allow a server beyond this machine's network.")]


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="A model's short name or folder; or a run, probed as it was tuned.")],
    data: Annotated[Path, typer.Option(help="The dataset whose answers the model is to know.")],
    out: Annotated[Path, typer.Option(help="Folder for probe.json and .jsonl; the same command goes on.")],
    split: Annotated[Part, typer.Option(help="Which part; learned: training and validation.")] = "learned",
    fold: Annotated[int, typer.Option(min=0, help="Which fold, where there are several.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="The prompt's template of a base model, as in a recipe.")] = None,
    answers: Annotated[int, typer.Option(min=1, help="How many answers to draw to each question.")] = 10,
    temperature: Annotated[float, typer.Option(min=0.0, help="How freely they are drawn.")] = 0.4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 96,
    judge: With = None,
    remote: Remote = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask an un-tuned model each question ten times, and judge what it can know (KnowAda)."""
    from residency.judges.named import open_speaker
    from residency.knowledge.probe import Wanted, probe_sheet
    from residency.knowledge.probe_text import probe_text

    wanted = Wanted(split, fold, prompt, answers, temperature, seed, max_new_tokens)
    if judge:
        found = probe_text(model, data, out, open_speaker(judge, remote=remote), wanted, say)
    else:
        found = probe_sheet(model, data, out, wanted)
    if as_json:
        tell(found, True)
        return
    out_console.print(_known_table(found.questions))
    if found.texts:
        out_console.print(", ".join(f"{name}: {count}" for name, count in found.texts.items()), markup=False)
    out_console.print(f"probe: {out / 'probe.jsonl'}", markup=False)
    out_console.print(f"next: residency adapt-captions {data} --probe {out} --out DATASET2", markup=False)


@app.command(name="adapt-captions")
def adapt_captions(
    data: Annotated[Path, typer.Argument(help="The dataset that was probed.")],
    probe: Annotated[Path, typer.Option(help="The probe's folder.")],
    out: Annotated[Path, typer.Option(help="A new folder for the adapted dataset.")],
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Unknown: wrong in at least this share of the judged answers.")
    ] = 0.8,
    form: Annotated[Form, typer.Option(help="All answers in one report, or each question singly.")] = "report",
    random_control: Annotated[bool, typer.Option("--random-control", help="As many claims, drawn at random.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Cut nothing: the targets to compare with.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="One table over thresholds instead; nothing is cut.")] = False,
    judge: With = None,
    remote: Remote = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut from training answers what the probed model cannot know (KnowAda); a new dataset that lists every cut."""
    from residency.judges.named import open_speaker
    from residency.knowledge.adapt import adapt_sheet
    from residency.knowledge.adapt_text import adapt_text
    from residency.knowledge.sweep import HEADS, show_rows, sweep_thresholds

    if sum((random_control, full, sweep)) > 1:
        raise UserError("--random-control, --full and --sweep exclude each other", do="leave all but one out")
    if sweep:
        swept = sweep_thresholds(data, probe, out)
        if as_json:
            tell(swept, True)
            return
        table = Table(*(Column(head, overflow="fold") for head in HEADS), box=None)
        for cells in show_rows(swept):
            table.add_row(*cells)
        out_console.print(table)
        out_console.print(f"sweep: {out / 'sweep.md'}", markup=False)
        return
    what: What = "random" if random_control else "nothing" if full else "unknown"
    if judge:
        speaker = open_speaker(judge, remote=remote)
        made = adapt_text(data, probe, out, speaker, threshold=threshold, what=what, seed=seed, say=say)
    else:
        made = adapt_sheet(data, probe, out, threshold=threshold, what=what, form=form, seed=seed)
    if as_json:
        tell(made, True)
        return
    out_console.print(_known_table(made.questions))
    gone = made.claims_before - made.claims_after
    failed = f"; {len(made.not_shortened)} could not be shortened and stayed" if made.not_shortened else ""
    out_console.print(
        f"cut ({made.what}): {gone} of {made.claims_before} claims; words {made.words_before} -> {made.words_after}; "
        f"{made.emptied} of {made.texts} texts had nothing left{failed}\ncuts: {out / 'cuts.jsonl'}\n"
        f"next: residency train RECIPE data={out}",
        markup=False,
    )


@app.command()
def verify(
    predictions: Annotated[Path, typer.Argument(help="A run folder, or a predictions file.")],
    verifier: Annotated[
        str, typer.Option("--with", help="The second model: http://HOST:PORT/v1#MODEL, a folder, a run, a short name.")
    ],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset, for a run folder.")] = "test",
    mode: Annotated[Mode, typer.Option("--as", help="Whose answers are verified.")] = "own",
    propose: Annotated[
        bool, typer.Option("--propose", help="Let it answer what it disputes, in a file beside.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; left out, `verified` beside the predictions.")] = None,
    remote: Remote = False,
    as_json: Json = False,
) -> None:
    """Let a second, larger model judge each claim against its image; rank what a person should look at first."""
    from residency.evaluate.read import read_run, read_siblings
    from residency.knowledge.verifier import open_verifier
    from residency.knowledge.verify import verify_evidence

    evidence = read_siblings(predictions, data) if predictions.is_file() else read_run(predictions, data, split)
    folder = out or evidence.folder / "verified"
    opened = open_verifier(verifier, evidence.dataset.folder, remote=remote)
    found = verify_evidence(evidence, opened, folder, mode=mode, propose=propose, say=say)
    if as_json:
        tell(found, True)
        return
    score, kept = found.agreement, found.calibration
    if score.value is not None:
        ends = "" if score.low is None else f" [{score.low:.2f}, {score.high:.2f}]"
        out_console.print(
            f"agreement: {score.value:.2f}{ends} of {score.n} claims, {score.groups} groups", markup=False
        )
    if kept:
        ece = "" if kept.ece is None else f", calibration error {kept.ece:.2f}"
        out_console.print(f"confidence foretells agreement: Brier score {kept.brier:.2f}{ece}", markup=False)
    told = f"{found.claims} claims: {found.disputed} disputed, {found.unsure} unsure, {found.failed} failed"
    right, wrong = found.confirmed_right, found.disputed_wrong
    out_console.print(told, markup=False)
    if right[1] or wrong[1]:
        against = f"confirmed and right {right[0]} of {right[1]}, disputed and wrong {wrong[0]} of {wrong[1]}"
        out_console.print(f"against the reference: {against}", markup=False)
    if propose:
        out_console.print(f"proposed: {folder / 'proposed.jsonl'} ({found.proposed} answers)", markup=False)
    out_console.print(f"for review: {folder / 'disagreements.csv'}", markup=False)


def _known_table(questions: "tuple[Known, ...]") -> Table:
    """Return a line a question: answers judged, and claims that the model cannot know."""
    heads = ("question", "asked", "claims", "correct", "minor", "wrong", "failed", "unknown", "undecided", "most often")
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in questions:
        shares = (f"{one.verdicts[name] / max(1, sum(one.verdicts.values())):.2f}" for name in one.verdicts)
        unknown = f"{one.unknown} ({one.unknown / max(1, one.claims):.0%})"
        table.add_row(
            one.question, str(one.trials), str(one.claims), *shares, str(one.failed), unknown, str(one.undecided),
            ", ".join(one.examples[:3]),
        )  # fmt: skip
    return table
