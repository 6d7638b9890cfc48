"""Train on what a model can know, on everything, and on as much cut at random; judge the reports; write one table.

python benchmarks/knowada.py OUT [--bench phantom|lung] [--model nano|dino-smol] [--patients 120] [--thresholds 0.2 0.5]

Every step is a command of Residency, so a stopped benchmark goes on where it was. `phantom`: simulated studies of a
hospital that nano never saw, eight questions. `lung`: ../shared/data/lung_ultrasound, a sheet made of its manifest
(docs/knowledge.md), with a nano that was first aligned on its training reports. `dino-smol` (benchmarks/dino_smol.py)
has a projector of noise: it and LoRA are aligned on the training answers, and the export of that is probed and tuned.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import yaml

import dino_smol
from residency.data.dataset import load_dataset, write_dataset
from residency.evaluate.bootstrap import draw_sums, interval, sum_groups
from residency.evaluate.claims.claim import Judged
from residency.files import read_lines, write_json, write_text
from residency.folder import is_trained
from residency.recipe import load_recipe
from residency.train import train_run
from residency.types import Prediction

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data" / "lung_ultrasound"
METRICS = ("descriptiveness precision", "descriptiveness recall", "contradiction precision", "contradiction recall")


@dataclass(frozen=True)
class Pupil:
    """What is tuned: keys of its recipe; for how many epochs it is first aligned (few: much is left unknown), and how
    that differs."""

    model: str
    tune: dict[str, object]
    train: dict[str, object]
    aligned: int
    aligning: dict[str, object]
    more: dict[str, object] = field(default_factory=dict)


PUPILS = {
    "nano": Pupil(
        "nano",
        {"lora": None, "train": ["projector", "language"]},
        {"batch_size": 32, "questions_per_image": 4, "learning_rate": 5e-4, "augment": "none"},
        12,
        {},
    ),
    "dino-smol": Pupil(
        str(dino_smol.CACHE),
        {"lora": {"rank": 16, "alpha": 32, "parts": ["language"]}, "train": ["projector"], "weights": "bf16"},
        {"batch_size": 8, "questions_per_image": 1, "learning_rate": 1e-3, "augment": "none", "precision": "bf16"},
        4,
        {"questions_per_image": 8},
        {"image_size": 112},
    ),
}
RATIOS = "0.62,0.03,0.35"
"""A small validation split, for it is answered after every epoch; the more patients are examined."""
DRAWS, SEED = 10_000, 0


def call(*words: object) -> None:
    """Run a command of Residency; end with it if it fails."""
    print("$ residency", *words, flush=True)
    subprocess.run([sys.executable, "-m", "residency", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def make_data(out: Path, bench: str, patients: int, seed: int) -> None:
    """Make OUT/data, a dataset of a sheet's answers."""
    if (out / "data").is_dir():
        return
    if bench == "phantom":
        call("phantom", out / "studies", "--patients", patients, "--site", "harbour", "--seed", seed + 60)
        sheet, images, questionnaire, group = "answers.xlsx", out / "studies" / "images", "fetal8", "column:Patient"
        folder = out / "studies"
    else:
        from lung_sheet import write_sheet

        write_sheet(SHARED, out / "sheet")
        folder, images, group = out / "sheet", SHARED, "column:Patient"
        sheet, questionnaire = "answers.csv", str(out / "sheet" / "questionnaire.yaml")
    call("ingest", "--sheet", folder / sheet, "--images", images, "--questionnaire", questionnaire,
         "--group-by", group, "--out", out / "data", "--seed", seed, "--ratios", RATIOS)  # fmt: skip
    if bench == "lung":
        drop_validation(out / "data")


def drop_validation(data: Path) -> None:
    """Give the validation groups to training: with one patient to validate by, the best epoch is chance."""
    dataset = load_dataset(data)
    fold = dataset.require_fold(0)
    whole = fold.model_copy(update={"train": (*fold.train, *fold.val), "val": ()})
    write_dataset(replace(dataset, splits=dataset.require_splits().model_copy(update={"folds": (whole,)})))


def train(out: Path, name: str, data: Path, pupil: Pupil, epochs: int, seed: int) -> Path:
    """Train on a dataset's reports, answer the test split, judge the claims; return the run."""
    run = out / "runs" / name
    if not (run / "scores" / "claims.json").is_file():
        fit(out, name, data, pupil, epochs, seed)
        call("predict", run, "--as", "own")
        call("judge", run)
    return run


def fit(out: Path, name: str, data: Path, pupil: Pupil, epochs: int, seed: int) -> Path:
    """Train as `residency train` does, without its other ways of answering; return the run."""
    recipe = {"name": name, "data": str(data), "out": str(out / "runs"), "model": pupil.model, "tune": pupil.tune}
    recipe |= {
        "train": pupil.train | {"epochs": epochs, "seed": seed},
        "predict": {"max_new_tokens": 256},
        **pupil.more,
    }
    path, run = out / f"{name}.yaml", out / "runs" / name
    write_text(path, yaml.safe_dump(recipe))
    print("# train", path, flush=True)
    if not is_trained(run):
        train_run(load_recipe(path), run, 0, print)
    return run


def align(out: Path, pupil: Pupil, seed: int) -> Path:
    """Train briefly on the training answers, each question singly; return the run."""
    aligning = replace(pupil, train=pupil.train | pupil.aligning)
    return fit(out, "aligned", out / "data", aligning, pupil.aligned, seed)


def shares_of(run: Path) -> dict[str, dict[str, tuple[str, float]]]:
    """Return each metric's value of each image, with its group (NaN: nothing to judge)."""
    by_image: dict[str, list[Judged]] = {}
    for one in read_lines(run / "scores" / "claims.jsonl", Judged):
        if one.of == "own":
            by_image.setdefault(one.image, []).append(one)
    found: dict[str, dict[str, tuple[str, float]]] = {metric: {} for metric in METRICS}
    for image, judged in by_image.items():
        for metric in METRICS:
            turned, label = metric.endswith("recall"), "entailed" if "descr" in metric else "contradicted"
            labels = [one.label for one in judged if one.from_reference == turned]
            found[metric][image] = judged[0].group, labels.count(label) / len(labels) if labels else float("nan")
    return found


def relative_change(run: Path, other: Path, metric: str) -> tuple[float, float, float]:
    """Return by what share a metric's mean differs from another run's, with its paired 95% interval by group."""
    own, theirs = shares_of(run)[metric], shares_of(other)[metric]
    rows = [
        (group, share, theirs[image][1])
        for image, (group, share) in own.items()
        if share == share and theirs[image][1] == theirs[image][1]
    ]
    sums_GD = sum_groups(np.array([row[1:] for row in rows]), [row[0] for row in rows])
    drawn_RD = draw_sums(sums_GD, DRAWS, SEED)
    low, high = interval(drawn_RD[:, 0] / drawn_RD[:, 1] - 1, len(sums_GD))
    value = sums_GD[:, 0].sum() / sums_GD[:, 1].sum() - 1
    assert low is not None and high is not None
    return value, low, high


def describe(name: str, data: Path, run: Path) -> dict[str, object]:
    """Return a row: how much was cut, claims and words an answer, the four scores with their intervals."""
    facts = json.loads((data / "knowledge.json").read_text())
    table = next(t for t in json.loads((run / "scores" / "claims.json").read_text())["tables"] if t["of"] == "own")
    said = read_lines(run / "predictions" / "test.own.jsonl", Prediction)
    scores = {score["metric"]: (score["value"], score["low"], score["high"]) for score in table["scores"]}
    return {
        "target": name,
        "cut": 1 - facts["claims_after"] / facts["claims_before"],
        "claims": table["said"] / table["images"],
        "words": float(np.mean([len(one.prediction.split()) for one in said])),
        "images": table["images"],
        "groups": table["groups"],
        **scores,
    }


def show(rows: list[dict[str, object]], changes: dict[str, dict[str, tuple[float, float, float]]]) -> str:
    """Return the tables as Markdown."""
    heads = ["target", "cut", "claims", "words", *METRICS]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for v in (row[metric] for metric in METRICS)]  # type: ignore[index]
        lines.append(f"| {row['target']} | {row['cut']:.0%} | {row['claims']:.1f} | {row['words']:.1f} | "
                     + " | ".join(cells) + " |")  # fmt: skip
    lines += ["", "| relative change | " + " | ".join(METRICS) + " |", "|" + "---|" * (len(METRICS) + 1)]
    for name, change in changes.items():
        cells = [f"{v:+.1%} [{low:+.1%}, {high:+.1%}]" for v, low, high in (change[metric] for metric in METRICS)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make data, probe, adapt, train, judge, and write table.md and table.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bench", choices=("phantom", "lung"), default="phantom")
    parser.add_argument("--model", choices=tuple(PUPILS), default="nano")
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.2, 0.5, 0.8, 1.0])
    parser.add_argument("--controls", type=float, nargs="*", default=[0.8, 0.5], help="as much cut at random")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    out, seed = asked.out, asked.seed
    out.mkdir(parents=True, exist_ok=True)
    make_data(out, asked.bench, asked.patients, seed)
    pupil = PUPILS[asked.model]
    probed: str | Path = pupil.model
    if asked.bench == "lung":  # nano never saw a lung: its language side is aligned on the training answers first
        probed = align(out, pupil, seed)
    elif asked.model != "nano":
        if not (out / "aligned").is_dir():
            call("export", align(out, pupil, seed), "--out", out / "aligned")
        probed = out / "aligned"
        pupil = replace(pupil, model=str(probed))
    if not (out / "probe" / "probe.json").is_file():
        call("probe", probed, "--data", out / "data", "--out", out / "probe", "--seed", seed, "--max-new-tokens", 64)
    wanted = {"full": ["--full"]}
    wanted |= {f"random {t}": ["--random-control", "--threshold", t] for t in asked.controls}
    wanted |= {f"known {t}": ["--threshold", t] for t in sorted({*asked.thresholds, *asked.controls}, reverse=True)}
    rows, runs = [], {}
    for name, words in wanted.items():
        data = out / f"data-{name.replace(' ', '-')}"
        if not data.is_dir():
            call("adapt-captions", out / "data", "--probe", out / "probe", "--out", data, "--seed", seed, *words)
        runs[name] = train(out, name.replace(" ", "-"), data, pupil, asked.epochs, seed)
        rows.append(describe(name, data, runs[name]))
        pairs = {
            f"{known} against {other}": (runs[known], runs[other])
            for known in runs
            if known.startswith("known")
            for other in ("full", known.replace("known", "random"))
            if other in runs
        }
        changes = {pair: {m: relative_change(*both, m) for m in METRICS} for pair, both in pairs.items()}
        write_text(out / "table.md", show(rows, changes))
        write_json(out / "table.json", {"rows": rows, "changes": changes})
    print((out / "table.md").read_text())


if __name__ == "__main__":
    main()
