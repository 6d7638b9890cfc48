"""Answers with and without similar cases told in the prompt, on real images: k = 0, 1, 3, 5 against kNN voting.

nano is tuned twice on each training split, with plain prompts and with prompts that tell of 0, 1, 3 or 5 cases (drawn
anew for each sample, none of its own patient); each is asked with every number, and with the one that validation
chooses. Figures are of the test patients, pooled over folds, with 95% intervals by patient (VQA-RAD: by image).

    python benchmarks/retrieval.py scratch/retrieval [--only planes lungs radiographs]
"""

import argparse
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import yaml

from fewshot_ingest import INGESTS, RECIPES
from residency.cli import main as command_line
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.split import make_splits
from residency.evaluate.bootstrap import estimate, estimate_gain
from residency.evaluate.copying import measure_copying
from residency.evaluate.gather import gather_answers
from residency.evaluate.measure import tally_answers
from residency.files import read_lines
from residency.types import Prediction

DATA = Path(__file__).parents[2] / "shared" / "data"
COUNTS = (0, 1, 3, 5, "auto")


@dataclass(frozen=True)
class Bench:
    """One folder of real images: what is asked of it, how it is split, how long nano is tuned."""

    key: str
    source: str
    question: str
    folds: int
    epochs: int
    batch: int
    by: str
    case: str = "{answer}"


BENCHES = {
    "planes": Bench("a", "fetal_planes", "q3", 2, 16, 8, "image"),
    "lungs": Bench("c", "lung_ultrasound", "label", 1, 24, 16, "image"),
    "radiographs": Bench("d", "vqa_rad", "free", 1, 2, 32, "hybrid", "{question} {answer}"),
}


def command(*words: object) -> None:
    """Give the installed command within this process, whose imports are slow on a busy machine."""
    told = io.StringIO()
    line = ["residency", *map(str, words)]
    print("$", *line, flush=True)
    with patch.object(sys, "argv", line), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            command_line()
        except SystemExit as ended:
            if ended.code:
                print(told.getvalue(), flush=True)
                raise


def make_data(bench: Bench, out: Path) -> Path:
    data = out / "dataset"
    if not (data / "samples.jsonl").is_file():
        INGESTS[bench.key](DATA / bench.source, data)
        dataset = load_dataset(data)
        splits = make_splits(dataset.samples, seed=0, folds=bench.folds, ratios=(0.5, 0.2, 0.3))
        write_dataset(Dataset(data, dataset.samples, dataset.questionnaire, splits))
    return data


def write_recipe(bench: Bench, data: Path, out: Path, name: str, told: bool) -> Path:
    recipe = yaml.safe_load((RECIPES / "fetal8-nano.yaml").read_text(encoding="utf-8"))
    recipe |= {"name": name, "data": str(data), "out": str(out / "runs"), "questions": [bench.question]}
    recipe["train"] |= {"epochs": bench.epochs, "patience": 99, "augment": "none", "save_steps": 500}
    recipe["train"] |= {"batch_size": bench.batch, "questions_per_image": 4 if bench.by == "hybrid" else 1}
    recipe["accept"] = ["prompt-leak"]  # VQA-RAD's questions tell much of their answers
    recipe["retrieval"] = {"k": "auto", "by": bench.by, "case": bench.case, "train": told}
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def answer(bench: Bench, out: Path) -> dict[str, list[Prediction]]:
    """Tune both, ask both with every number; returns each row's predictions of all folds."""
    data, rows = make_data(bench, out), {}
    for name in ("plain", "told"):
        recipe = write_recipe(bench, data, out, name, name == "told")
        run = out / "runs" / name
        folds = ["fold=all"] if bench.folds > 1 else []
        command("train", recipe, *folds)
        for count in COUNTS[:-1]:
            command("predict", run, f"retrieval.k={count}", "--as", "own")
        for count in COUNTS:
            inner = "predictions" if count == "auto" else f"predictions/retrieval.k={count}"
            rows[f"{name}, k={count}"] = read_rows(run, f"{inner}/test.own.jsonl")
        for way in ("blind", "knn", "probe") if name == "told" else ("knn", "probe"):
            rows[f"{way}{', told' if way == 'blind' else ''}"] = read_rows(run, f"predictions/test.{way}.jsonl")
        chosen = [json.loads(path.read_text()) for path in sorted(run.glob("**/predictions/retrieval.json"))]
        print(name, "chosen on validation:", [(one["k"], one["scores"]) for one in chosen], flush=True)
    return rows


def read_rows(run: Path, inner: str) -> list[Prediction]:
    folders = sorted(run.glob("fold-*")) or [run]
    return [made for folder in folders for made in read_lines(folder / inner, Prediction)]


def show(title: str, bench: Bench, data: Path, rows: dict[str, list[Prediction]]) -> list[str]:
    """Return a table: each row's score with its interval, its gain over the plain model, and what it copied."""
    dataset = load_dataset(data)
    asked = {made.id for made in rows["knn"]}
    samples = [sample for sample in dataset.samples if sample.id in asked]
    tallies = {}
    for name, made in rows.items():
        (answered, *_) = gather_answers(samples, {"own": made}, dataset.questionnaire)
        tally = tally_answers(answered.spec, answered.truths, answered.answers["own"])[0]
        copying = [one for one in measure_copying([answered], {"own": made}, 500, 0) if not one.question]
        tallies[name] = (answered, tally, copying)
    answered, plain, _ = tallies["plain, k=0"]
    lines = [f"### {title}: {plain.metric.name}, {len(samples)} answers, {len(set(answered.groups))} groups", ""]
    lines += ["| answers by | score | gain over plain, k=0 | a neighbour's (right, wrong) | own (right, wrong) |"]
    lines += ["|---|---|---|---|---|"]
    for name, (_, tally, copying) in tallies.items():
        found, gain = estimate(tally, answered.groups, 2000, 0), estimate_gain(tally, plain, answered.groups, 2000, 0)
        copied = own = "-"
        if copying:
            one = copying[0]
            copied, own = f"{one.copied_right}, {one.copied_wrong}", f"{one.own_right}, {one.own_wrong}"
        lines.append(f"| {name} | {_told(found)} | {_told(gain)} | {copied} | {own} |")
    return [*lines, ""]


def _told(found: object) -> str:
    value, low, high = (getattr(found, name) for name in ("value", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" ({low:.2f} to {high:.2f})" if low is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", default=list(BENCHES), choices=list(BENCHES))
    asked = parser.parse_args()
    for name in asked.only:
        began, out = perf_counter(), (asked.out / name).resolve()
        out.mkdir(parents=True, exist_ok=True)
        rows = answer(BENCHES[name], out)
        table = "\n".join(show(name, BENCHES[name], out / "dataset", rows))
        (out / "table.md").write_text(table + "\n")
        print(table, f"\n{perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
