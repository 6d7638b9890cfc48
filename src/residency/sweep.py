"""A recipe and lists of values in; every combination trained, compared on validation alone, the best recipe out.

The test split is not read: each training is `sealed` (material.py), so no sample of it can sway the choice.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from residency.config import Recipe
from residency.data.dataset import hash_dataset, load_dataset
from residency.errors import UserError
from residency.files import sha256_text, write_json, write_text
from residency.folder import check_folder, holding, is_trained
from residency.recipe import dump_recipe, load_recipe
from residency.train import train_run
from residency.types import Record

SHORT_KEYS = {"lr": "train.learning_rate", "rank": "tune.lora.rank"}
ONE_VALUE = ("name", "out", "data", "questions", "fold", "evaluate")
"""Keys whose values a validation score cannot compare."""


class Combination(Record):
    """One training of a sweep: what was set and how well it validated; or, in `error`, why it could not be trained."""

    settings: dict[str, Any]
    run: str
    score: float | None = None
    by_question: dict[str, float] = Field(default_factory=dict)
    best_step: int | None = None
    steps: int | None = None
    error: str | None = None


class Sweep(Record):
    """All that was trained, the best by validation first, and on how much it was compared.

    `left` combinations wait, where the sweep was interrupted. `best` is the best recipe's file, once none is left.
    """

    recipe: str
    folder: str
    fold: int
    validation_samples: int
    validation_groups: int
    data_sha256: dict[str, str]
    note: str
    combinations: tuple[Combination, ...] = ()
    left: int
    best: str | None = None


def run_sweep(path: Path, settings: Sequence[str], say: Callable[[str], None]) -> Sweep:
    """Train each combination of `settings` (`key=value,value`) of the recipe at `path`, and compare them.

    What is trained already is not trained again. `sweep.json` is written after each; `best.yaml` at the end.

    Raises:
        UserError: a key or value that no recipe can have, nothing to compare, no validation groups, all folds asked;
            or (exit code 1) no combination could be trained.
    """
    grid = read_grid(settings)
    varied = [key for key, values in grid.items() if len(values) > 1]
    named: list[tuple[dict[str, Any], Recipe]] = []
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        recipe = load_recipe(path, [f"{key}={json.dumps(value)}" for key, value in chosen.items()])
        named.append(({key: chosen[key] for key in varied}, recipe))
    whole = named[0][1]
    _check_comparable(whole, [recipe for _, recipe in named])
    folder = whole.out / f"{whole.name}-sweep"
    sweep = _open_sweep(path, whole, folder, len(named))
    runs = [
        (chosen, folder / name, recipe.model_copy(update={"name": name, "out": folder}))
        for chosen, recipe in named
        for name in [name_combination(chosen)]
    ]
    for _, run, recipe in runs:
        check_folder(recipe, run, sweep.fold)
    done: list[Combination] = []
    with holding(folder):
        for number, (chosen, run, recipe) in enumerate(runs, 1):
            say(f"{number} of {len(runs)}: {tell_settings(chosen)}")
            trained = _train_one(chosen, run, recipe, sweep.fold, say)
            if trained is None:
                return sweep
            done.append(trained)
            sweep = sweep.model_copy(update={"combinations": _rank(done), "left": len(runs) - number})
            write_json(folder / "sweep.json", sweep.model_dump(mode="json"))
        return _name_best(sweep, named, whole, folder)


def read_grid(settings: Sequence[str]) -> dict[str, list[Any]]:
    """Read `key=value,value` (YAML values) into values by key; short names are spelled out.

    Raises:
        UserError: what is no list of values, a key named twice, one whose values cannot be compared, or no key with
            two values; all of them.
    """
    grid: dict[str, list[Any]] = {}
    faults = []
    for setting in settings:
        key, sign, text = setting.partition("=")
        key = SHORT_KEYS.get(key.strip(), key.strip())
        try:
            values = yaml.safe_load(f"[{text}]") if sign else []
        except yaml.YAMLError:
            values = []
        if not values:
            faults.append(f"`{setting}` is not key=value,value (quote a value that holds a comma or a brace)")
        elif key in grid:
            faults.append(f"`{key}` is named twice")
        elif key.partition(".")[0] in ONE_VALUE and len(values) > 1:
            faults.append(f"`{key}` cannot vary: validation scores would not tell which value is better")
        else:
            grid[key] = values
    if not faults and all(len(values) < 2 for values in grid.values()):
        faults.append("no key has two values, so there is nothing to compare")
    if faults:
        raise UserError("this sweep cannot be made:\n  " + "\n  ".join(faults), allowed="lr=1e-4,3e-4 rank=8,16")
    return grid


def name_combination(settings: Mapping[str, Any]) -> str:
    """Return a combination's folder: its keys and values in letters that a folder's name may hold."""
    short = {full: name for name, full in SHORT_KEYS.items()}
    told = "_".join(f"{short.get(key, key)}-{value}" for key, value in settings.items())
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", told)
    return plain if plain == told else f"{plain[:80]}-{sha256_text(told)[:6]}"


def tell_settings(settings: Mapping[str, Any]) -> str:
    """Return settings as one types them."""
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _check_comparable(whole: Recipe, recipes: Sequence[Recipe]) -> None:
    if not isinstance(whole.fold, int):
        found = "fold=all, where the groups that one fold validates by are another's test split"
        raise UserError("a sweep compares within one fold", found=found, do="choose one: fold=0")
    if any(recipe.train.self_training for recipe in recipes):
        raise UserError("a sweep does not self-train", do="add train.self_training=null; put it back for the best")
    if len({dump_recipe(recipe) for recipe in recipes}) < len(recipes):
        raise UserError("two combinations of this sweep are the same recipe", do="name each value once")


def _open_sweep(path: Path, whole: Recipe, folder: Path, count: int) -> Sweep:
    dataset, fold = load_dataset(whole.data), int(whole.fold)
    compared = [
        sample for sample in dataset.split("val", fold) if whole.questions is None or sample.question in whole.questions
    ]
    if not compared:
        found = f"fold {fold}: no annotated sample in val"
        do = "ingest again with a share for it: --ratios 0.6,0.15,0.25"
        raise UserError(f"{whole.data} has nothing to compare combinations on", found=found, do=do)
    note = "the best of several scores flatters; how good the best recipe is, only the test split tells"
    if len(dataset.require_splits().folds) > 1:
        note += f"; examine it on fold {fold} alone, for other folds examine groups that it was chosen by"
    return Sweep(
        recipe=str(path),
        folder=str(folder),
        fold=fold,
        validation_samples=len(compared),
        validation_groups=len({sample.group for sample in compared}),
        data_sha256=hash_dataset(whole.data),
        note=note,
        left=count,
    )


def _train_one(
    chosen: dict[str, Any], run: Path, recipe: Recipe, fold: int, say: Callable[[str], None]
) -> Combination | None:
    """Train a combination unless it is trained, and read its best validation; None after Ctrl-C."""
    if is_trained(run):
        say("  trained already")
    else:
        try:
            trained = train_run(recipe, run, fold, say, sealed=True)
        except UserError as error:
            say(f"  not trained: {error.what}")
            return Combination(settings=chosen, run=str(run), error=str(error))
        if trained.stopped == "interrupted":
            return None
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    done = read_validation(chosen, run)
    say(f"  validation score {done.score:.3f}" if done.score is not None else "  no answer could be scored")
    return done


def read_validation(chosen: dict[str, Any], run: Path) -> Combination:
    """Return a trained run's best validation, the earliest of equals: that of the weights it kept."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    scored = [line for line in lines if "val_score" in line]
    best: dict[str, Any] = max(scored, key=lambda line: line["val_score"], default={})
    mark = "val_score_"
    return Combination(
        settings=chosen,
        run=str(run),
        score=best.get("val_score"),
        by_question={key.removeprefix(mark): value for key, value in best.items() if key.startswith(mark)},
        best_step=best.get("step"),
        steps=max((line.get("step", 0) for line in lines), default=0),
    )


def _rank(done: Sequence[Combination]) -> tuple[Combination, ...]:
    """Return the best first; of equals the one trained first, and those without a score last."""
    return tuple(sorted(done, key=lambda one: float("inf") if one.score is None else -one.score))


def _name_best(sweep: Sweep, named: Sequence[tuple[dict[str, Any], Recipe]], whole: Recipe, folder: Path) -> Sweep:
    """Write the best recipe as YAML, under a name of its own, and the table with it."""
    best = sweep.combinations[0]
    if best.score is None:
        found = [f"{tell_settings(one.settings)}: {one.error or 'no answer could be scored'}" for one in
                 sweep.combinations]  # fmt: skip
        raise UserError("no combination could be compared:\n  " + "\n  ".join(found), exit_code=1)
    recipe = next(recipe for chosen, recipe in named if chosen == best.settings)
    recipe = recipe.model_copy(update={"name": f"{whole.name}-best"})
    told = f"# The best of {len(named)} by validation ({best.score:.3f}): {tell_settings(best.settings)}\n"
    write_text(folder / "best.yaml", told + dump_recipe(recipe))
    sweep = sweep.model_copy(update={"best": str(folder / "best.yaml")})
    write_json(folder / "sweep.json", sweep.model_dump(mode="json"))
    return sweep
