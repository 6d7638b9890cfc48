"""Commands about what a model can know, and what is brought to it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from residency.commands.app import Json, Seed, app
from residency.tell import out_console, tell
from residency.types import SplitName

if TYPE_CHECKING:
    from residency.knowledge.trials import Known


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="A model's short name or folder; or a run, probed as it was tuned.")],
    data: Annotated[Path, typer.Option(help="The dataset whose answers the model is to know.")],
    out: Annotated[Path, typer.Option(help="Folder for probe.json and .jsonl; the same command goes on.")],
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset.")] = "train",
    fold: Annotated[int, typer.Option(min=0, help="Which fold, where there are several.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="The prompt's template of a base model, as in a recipe.")] = None,
    answers: Annotated[int, typer.Option(min=1, help="How many answers to draw to each question.")] = 10,
    temperature: Annotated[float, typer.Option(min=0.0, help="How freely they are drawn.")] = 0.4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 96,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask an un-tuned model each question ten times, and judge what it can know (KnowAda)."""
    from residency.knowledge.probe import probe_sheet

    found = probe_sheet(
        model, data, out, split=split, fold=fold, prompt=prompt, count=answers, temperature=temperature, seed=seed,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    if as_json:
        tell(found, True)
        return
    out_console.print(_known_table(found.questions))
    out_console.print(f"probe: {out / 'probe.jsonl'}", markup=False)
    out_console.print(f"next: residency adapt-captions {data} --probe {out} --out DATASET2", markup=False)


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
