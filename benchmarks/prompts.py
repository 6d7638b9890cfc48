"""Real fetal planes in, one table out: what searched wording, a soft prompt and LoRA make of one model on one split.

    python benchmarks/prompts.py OUT [--model nano] [--folds 5] [--epochs 10]

40 planes of 10 patients (../shared/data/fetal_planes), folds by patient; every row learns from, or is chosen on, the
same patients and is examined on the same others. The figure is the mean of the questions' primary scores, its interval
by patient over all folds together; LoRA is paired with each. What is done already in OUT is not done again.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from residency.config import Recipe
from residency.data.dataset import Dataset, load_dataset
from residency.data.ingest import ingest
from residency.evaluate.bootstrap import interval
from residency.evaluate.figure import Figure, draw_figure, estimate_figure
from residency.evaluate.floors import predict_majority
from residency.exam import predict_run, predict_untuned
from residency.files import read_lines, write_text
from residency.folder import is_trained
from residency.prompting.phrasings import Phrasing
from residency.prompting.search import search_prompts
from residency.recipe import load_recipe
from residency.train import train_run
from residency.types import Prediction

PLANES = Path(__file__).parents[2] / "shared" / "data" / "fetal_planes"
TUNED = {
    "soft prompt, 16 vectors": {"tune": {"lora": None, "train": [], "soft_prompt": {"tokens": 16}}, "rate": 0.1},
    "LoRA of rank 16": {"tune": {"lora": {"rank": 16, "alpha": 32, "parts": ["language"]}, "train": []}, "rate": 1e-3},
}
"""Learning rates as docs/tuning.md tells; set beforehand, as are the epochs."""
ASKED = ("as the sheet asks", "searched wording", "searched wording, 3 examples as text")


@dataclass
class Row:
    """What one way came to: its answers over all folds, the numbers it learned, seconds spent to learn or search."""

    learned: str = "0"
    seconds: float = 0.0
    made: list[Prediction] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_rows(
    out: Path, model: str, folds: int, epochs: int, say: Callable[[str], None]
) -> tuple[Dataset, dict[str, Row]]:
    """Run every way on every fold."""
    data = out / "data"
    if not data.is_dir():
        ingest(PLANES / "answers.xlsx", PLANES / "images", "fetal8", data, "column:Patient", folds=folds)
    rows = {name: Row() for name in ("majority answer", *ASKED, *TUNED, "LoRA, asked in searched wording")}
    dataset = load_dataset(data)
    for fold in range(folds):
        say(f"fold {fold}")
        test, train = dataset.split("test", fold), dataset.split("train", fold)
        rows["majority answer"].made += predict_majority(train, test, dataset.questionnaire)
        bare = Recipe(name="base", data=data, model=model, fold=fold)
        began, time = perf_counter(), out / "search" / str(fold) / "seconds.json"
        search = search_prompts(model, data, time.parent, say, fold=fold)
        if not time.is_file():
            write_text(time, json.dumps(perf_counter() - began))
        spent = json.loads(time.read_text())
        ways = (Phrasing(), search.pick(0).asked, search.pick(3).asked)
        for name, way in zip(ASKED, ways, strict=True):
            where = out / "asked" / str(fold) / name.replace(" ", "-").replace(",", "")
            rows[name].made += _read(predict_untuned(way.apply(bare), where).files[0])
            rows[name].seconds += 0 if name == ASKED[0] else spent
            rows[name].notes.append(way.prompt)
        for name, settings in TUNED.items():
            _tune(rows[name], out / "tuned", data, model, fold, epochs, {name: settings}, say)
        best = search.pick(0).asked
        worded = {"LoRA worded": TUNED["LoRA of rank 16"] | {"prompt": best.prompt, "system": best.system}}
        _tune(rows["LoRA, asked in searched wording"], out / "tuned", data, model, fold, epochs, worded, say)
    return dataset, rows


def _tune(
    row: Row,
    out: Path,
    data: Path,
    model: str,
    fold: int,
    epochs: int,
    named: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    ((name, settings),) = named.items()
    values = {"name": f"{name.split(',')[0].replace(' ', '-')}-{fold}", "data": str(data), "model": model, "fold": fold}
    values |= {"out": str(out), "tune": settings["tune"], "prompt": settings.get("prompt", "{prefix}")}
    values |= {"system": settings.get("system", "")}
    values |= {"train": {"epochs": epochs, "batch_size": 8, "augment": "none", "patience": epochs, "save_steps": 10_000,
                         "learning_rate": settings["rate"]}}  # fmt: skip
    file = out / f"{values['name']}.yaml"
    write_text(file, yaml.safe_dump(values))
    recipe, run = load_recipe(file), out / str(values["name"])
    time = run / "seconds.json"
    if not is_trained(run):
        began = perf_counter()
        train_run(recipe, run, fold, say)
        write_text(time, json.dumps(perf_counter() - began))
    row.seconds += json.loads(time.read_text())
    row.learned = f"{json.loads((run / 'preflight.json').read_text())['parameters']['trainable']:,}"
    row.made += _read(predict_run(run, modes=("own",), floors=False).files[0])


def _read(file: str) -> list[Prediction]:
    return read_lines(Path(file), Prediction)


def render_table(dataset: Dataset, rows: dict[str, Row]) -> str:
    """Return the table as Markdown."""
    asked = {made.id for made in next(iter(rows.values())).made}
    samples = [sample for sample in dataset.samples if sample.id in asked]
    scored = {name: estimate_figure(samples, row.made, dataset.questionnaire) for name, row in rows.items()}
    questions = [f"{one.question}: {one.metric}" for one in next(iter(scored.values())).questions]
    lines = [f"| | figure | LoRA better by | {' | '.join(questions)} | numbers learned | seconds a fold |"]
    lines.append("|---|" + "---|" * (len(questions) + 4))
    lora, drawn_R, groups = draw_figure(samples, rows["LoRA of rank 16"].made, dataset.questionnaire)
    folds = len(next(row for row in rows.values() if row.notes).notes)
    for name, row in rows.items():
        shown = (_told(one.value, one.low, one.high) for one in scored[name].questions)
        own, others_R, _ = draw_figure(samples, row.made, dataset.questionnaire)
        apart = "" if row is rows["LoRA of rank 16"] else _told(lora - own, *interval(drawn_R - others_R, groups))
        cells = [_figure(scored[name]), apart, *shown, row.learned, f"{row.seconds / folds:.0f}" if row.seconds else ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _figure(figure: Figure) -> str:
    return f"**{_told(figure.value, None, None)}**{_told(None, figure.low, figure.high)}"


def _told(value: float | None, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return ("" if value is None else f"{value:.2f}") + ends


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    made, table = run_rows(given.out, given.model, given.folds, given.epochs, lambda line: print(line, flush=True))
    write_text(given.out / "prompts.md", render_table(made, table))
    for title, kept in table.items():
        for note in sorted(set(kept.notes)):
            print(f"{title}: {kept.notes.count(note)} x {note!r}")
    print(render_table(made, table))
