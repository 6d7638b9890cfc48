"""A draw and a row's changes to the shipped recipe in, a tuned nano's answers out, on the path a user's data takes."""

import json
import shutil
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

from fewshot_bench import Bench, Made
from fewshot_data import Draw, write_draw
from residency.config import Recipe
from residency.data.batches import ImageBatches
from residency.exam import predict_run
from residency.files import read_lines
from residency.recipe import load_recipe
from residency.selftrain import self_train
from residency.train import train_run
from residency.types import Mode, Prediction, Sample

NANO: dict[str, dict[str, Any]] = {"tuned": {}, "random": {"model": "random"}}
ABLATIONS: dict[str, dict[str, Any]] = {
    "LoRA": {"tune.lora": {"rank": 16, "alpha": 32, "parts": ["language"]}, "tune.train": ["vision", "projector"]},
    "selective": {"tune.lora": None, "tune.train": ["projector", "language"]},
    "full": {
        "tune.lora": None,
        "tune.train": ["vision", "projector", "language"],
        "train.part_learning_rates": {"vision": 1e-4},
    },
    "without contrastive": {"train.contrastive": None},
    "with contrastive": {"train.contrastive": {}},
    "without augmentation": {"train.augment": "none"},
    "grey augmentation": {"train.augment": "grey"},
    "ultrasound augmentation": {"train.augment": "ultrasound"},
    "without simulation": {"model": "imagenet"},
    "without self-training": {"train.self_training": None},
    "with self-training": {"train.self_training": {}},
}
"""What each ablation changes in the shipped recipe; one that changes nothing is the shipped recipe and is not run."""
CLOSED = ("with self-training", "without self-training")
"""Ablations that only closed questions know: a number is not answered alike twice."""


def recipe_of(bench: Bench, draw: Draw, row: str) -> Recipe:
    """Return the shipped recipe with the experiment's and the row's changes; training sets its number of epochs.

    Where no two images share an answer (one patient's four planes), the loss between alike images has none: it is off.
    So is self-training for numbers, which it does not know, and where a single test group leaves none to learn from.
    """
    changes = {**draw.experiment.overrides, **NANO.get(row, {}), **ABLATIONS.get(row, {})}
    if load_recipe(draw.experiment.recipe).train.part_learning_rates:
        changes.pop("train.part_learning_rates", None)  # the shipped recipe has rates of its own
    changes |= {"name": "cell", "train.save_steps": 100_000, "model": bench.model(changes.get("model", "nano"))}
    if draw.experiment.measures or len({sample.group for sample in draw.test}) < 2:
        changes["train.self_training"] = None
    recipe = load_recipe(draw.experiment.recipe, [f"{key}={json.dumps(value)}" for key, value in changes.items()])
    if recipe.train.contrastive is None or _share_answers(draw.asked):
        return recipe
    alone = recipe.train.contrastive.model_copy(update={"classes": False})
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"contrastive": alone})})


def tune_nano(bench: Bench, draw: Draw, row: str, modes: tuple[Mode, ...]) -> list[Made]:
    """Ingested samples, `train_run`, `predict_run`: the path that a user's data takes; a Made for each mode."""
    recipe = recipe_of(bench, draw, row)
    parts = draw.halves() if recipe.train.self_training else (draw,)
    made = [Made({}, 0.0) for _ in modes]
    for part in parts:
        run, seconds = train_part(bench, part, recipe)
        predict_run(run, modes=modes, floors=False)
        for place, mode in enumerate(modes):
            lines = read_lines(run / "predictions" / f"test.{mode}.jsonl", Prediction)
            answers = made[place].answers | {line.id: line.parsed for line in lines}
            made[place] = Made(answers, made[place].seconds + seconds / len(parts))
    return made


def train_part(bench: Bench, draw: Draw, recipe: Recipe, steps: int = 0) -> tuple[Path, float]:
    """Train on a draw, from its first step on, for its experiment's steps or these; returns the run and the seconds."""
    folder = bench.work / f"cell-{bench.job}"
    run = folder / "runs" / recipe.name
    shutil.rmtree(folder, ignore_errors=True)
    data = write_draw(draw, folder / "data")
    epochs = 1 if bench.quick else epochs_of(draw, recipe, bench.steps_of(draw, steps))
    train = recipe.train.model_copy(update={"epochs": epochs})
    recipe = recipe.model_copy(update={"data": data, "out": folder / "runs", "train": train})
    began = perf_counter()
    train_all = self_train if recipe.train.self_training else train_run
    trained = train_all(recipe, run, 0, lambda line: None)
    if trained.stopped == "interrupted":
        raise KeyboardInterrupt
    return run, perf_counter() - began


def epochs_of(draw: Draw, recipe: Recipe, steps: int) -> int:
    """Return the epochs that give at least this number of optimizer steps."""
    settings = recipe.train
    batches = ImageBatches(
        draw.train,
        batch_size=settings.batch_size,
        questions_per_image=settings.questions_per_image,
        balance=settings.balance,
        seed=settings.seed,
    )
    return ceil(steps * settings.accumulate / len(batches))


def _share_answers(samples: Sequence[Sample]) -> bool:
    return len({str(sample.answer) for sample in samples}) < len({sample.image for sample in samples})
