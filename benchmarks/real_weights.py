"""Real weights on real images: dino-smol tuned in five folds in, its scores beside majority, blind and words out.

    python benchmarks/real_weights.py [--only planes,closed] [--quick]
    python benchmarks/real_weights.py --table

planes: the four planes of fetal_planes, folds by patient; closed: VQA-RAD's closed questions, folds by image, pooled.
Every fold trains for a number of epochs that was set beforehand; nothing is validated on. The tower stays frozen, the
projector, which is new, is trained with LoRA in the decoder, in bfloat16 (a CPU with AVX512-BF16 multiplies four times
as fast so). A killed run goes on from its last checkpoint when the same command is given again.
"""

import argparse
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
import transformers

import dino_smol
from fewshot_bench import Bench, Made
from fewshot_cells import Cell, Results
from fewshot_data import EXPERIMENTS, Draw, Experiment, draws_of, prepare, write_draw
from fewshot_ingest import RECIPES, ROOT
from fewshot_rivals import RIVALS
from real_weights_table import write_table
from residency.asking import Predict
from residency.config import Lora, Recipe, Train, Tune
from residency.exam import predict_run
from residency.files import is_there, read_lines
from residency.folder import is_trained
from residency.train import train_run
from residency.types import Mode, Prediction

SHARED = ROOT.parent / "shared" / "data"
SIDE = 112
"""Pixels; 64 image tokens. At the tower's own 224 px everything takes about three times as long."""
MODES: tuple[Mode, ...] = ("own", "blind")
FLOORS = ("probe", "knn")


@dataclass(frozen=True)
class Trial:
    """What is asked of a folder: the experiment (its `sizes` are five folds), and how long and how fast to train."""

    experiment: Experiment
    epochs: int
    batch_size: int
    questions_per_image: int
    floors: tuple[str, ...]
    """Rows that are made without dino-smol's decoder."""


TRIALS = {
    "planes": Trial(replace(EXPERIMENTS["a"], sizes=(0,)), 12, 4, 1, ("majority",)),
    "closed": Trial(
        Experiment(
            "closed",
            "VQA-RAD, closed questions, 5 folds by image: accuracy",
            "vqa_rad",
            "free",
            (0,),
            RECIPES / "fetal8-nano.yaml",
            0,
            0,
            {"accept": ["prompt-leak", "group-by-image"]},
            True,
        ),
        1,
        32,
        8,
        ("majority", "words"),
    ),
}


def recipe_of(trial: Trial, model: Path, data: Path, out: Path) -> Recipe:
    """Return how a fold is trained."""
    return Recipe(
        name="dino-smol",
        data=data,
        out=out,
        model=str(model),
        image_size=SIDE,
        questions=(trial.experiment.question,),
        accept=tuple(trial.experiment.overrides.get("accept", ())),
        tune=Tune(lora=Lora(rank=16, alpha=32, dropout=0.0, parts=("language",)), train=("projector",), weights="bf16"),
        train=Train(
            epochs=trial.epochs,
            batch_size=trial.batch_size,
            questions_per_image=trial.questions_per_image,
            learning_rate=1e-3,
            precision="bf16",
            augment="none" if trial.experiment.speaks else "grey",
            balance="none" if trial.experiment.speaks else "category",
            save_steps=10,
        ),
        predict=Predict(max_new_tokens=16),
    )


def tune_fold(trial: Trial, draw: Draw, model: Path, folder: Path) -> dict[str, Made]:
    """Train on a fold, or go on where it was stopped, and answer its test images, with their own and blind."""
    data = folder / "data" if is_there(folder / "data" / "samples.jsonl") else write_draw(draw, folder / "data")
    recipe = recipe_of(trial, model, data, folder / "runs")
    run, began = recipe.out / recipe.name, perf_counter()
    if not is_trained(run) and train_run(recipe, run, 0, lambda line: None).stopped == "interrupted":
        raise KeyboardInterrupt
    seconds = perf_counter() - began
    closed = not trial.experiment.speaks
    predict_run(run, modes=MODES, floors=closed)
    made = {}
    for name in (*MODES, *(FLOORS if closed else ())):
        lines = read_lines(run / "predictions" / f"test.{name}.jsonl", Prediction)
        made[name] = Made({line.id: line.parsed for line in lines}, seconds if name in MODES else 0.0)
    return made


def run_trial(name: str, call: argparse.Namespace, results: Results) -> None:
    """Make each fold that is not there yet."""
    trial = TRIALS[name]
    if call.quick:
        trial = replace(trial, epochs=1)
    dataset = prepare(trial.experiment, call.shared, call.work)
    done = {cell.place[:3] for cell in results.read()}
    bench = Bench(call.work, (), call.quick, _tell)
    for draw in draws_of(trial.experiment, dataset, 0)[: 1 if call.quick else None]:
        if (draw.experiment.name, draw.size, draw.number) in done:
            continue
        draw, began = draw.cut(8, 4) if call.quick else draw, perf_counter()
        folder = call.work / ("quick" if call.quick else "folds") / draw.name
        made = tune_fold(trial, draw, call.model, folder)
        made |= {row: RIVALS[row](bench, draw) for row in trial.floors}
        results.add([_cell(draw, row, one) for row, one in made.items()])
        _tell(f"{draw.name}: {perf_counter() - began:.0f} s")


def _cell(draw: Draw, row: str, made: Made) -> Cell:
    marks = [(s.id, s.group, s.answer, made.answers.get(s.id)) for s in draw.test if s.answer is not None]
    return Cell(
        experiment=draw.experiment.name,
        size=draw.size,
        draw=draw.number,
        row=row,
        settings=f"{SIDE} px",
        seconds=round(made.seconds, 1),
        memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        marks=tuple(marks),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="planes,closed")
    parser.add_argument("--model", type=Path, default=dino_smol.CACHE, help="dino-smol's folder; built if not there")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--work", type=Path, default=ROOT / "scratch" / "real_weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one epoch of one fold on a few images")
    parser.add_argument("--table", action="store_true", help="print the table of what is done, run nothing")
    call = parser.parse_args(arguments)
    results = Results(call.work / ("quick.jsonl" if call.quick else "results.jsonl"))
    if not call.table:
        torch.set_num_threads(call.threads)
        transformers.logging.set_verbosity_error()
        dino_smol.build(call.model)
        for name in call.only.split(","):
            run_trial(name, call, results)
    print(write_table(results.read()), end="")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
