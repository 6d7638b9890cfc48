"""Runs or predictions files in, contestants that answered the same samples out; and what their comparison holds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from residency.config import Recipe
from residency.data.dataset import Dataset
from residency.errors import UserError
from residency.evaluate.read import check_ids, find_dataset, hash_evidence, run_folders
from residency.evaluate.records import Hashes, Warned
from residency.files import read_json, read_lines
from residency.recipe import load_recipe
from residency.types import SPLITS, Prediction, Record, Sample, SplitName

Decided = Literal["win", "tie", "loss"]
ASKED = "asked.json"
"""Beside predictions whose prompt was searched for (`residency predict --prompts`)."""
_MODE = re.compile(r"(?:train|val|test|all)\.([a-z]+)\.jsonl")


class Versus(Record):
    """One question (or all of them together, `overall`) of two models, A against B.

    `gain` is signed so that positive is better for A, with its plain (unadjusted) 95% interval; `p` is two-sided,
    `adjusted` after Holm over the questions (None: overall, which is not adjusted). `detectable` is the smallest
    difference that this many groups would show in four of five repetitions; `more_groups` how many more such groups
    would show the difference found, were it the true one (None: it is decided, or the difference is 0).
    """

    question: str
    heading: str = ""
    metric: str
    unit: str = ""
    a: float | None
    b: float | None
    gain: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    outcome: Decided
    n: int
    groups: int
    detectable: float | None = None
    more_groups: int | None = None
    note: str = ""


class Pair(Record):
    """A against one other: each question, all together, and how often A won, tied and lost."""

    a: str
    b: str
    questions: tuple[Versus, ...]
    overall: Versus | None
    won: int
    tied: int
    lost: int

    def sentence(self) -> str:
        """Return the outcome in words."""
        total = "not defined (numbers alone)"
        if self.overall and self.overall.gain is not None:
            words = {"win": f"{self.a} wins", "tie": "a tie", "loss": f"{self.b} wins"}[self.overall.outcome]
            total = f"{words} ({_signed(self.overall.gain)}{_between(self.overall)})"
        return (
            f"{self.a} against {self.b}: {self.won} won, {self.tied} tied, {self.lost} lost of "
            f"{len(self.questions)} questions; overall {total}."
        )


class AskedAs(Record):
    """How a model was asked where its prompt was searched for: among how many ways, on how many validation samples."""

    model: str
    prompt: str
    system: str = ""
    shots: int = 0
    tried: int
    samples: int
    groups: int

    def sentence(self) -> str:
        """Return it in words."""
        system = f" after {self.system!r}" if self.system else ""
        shots = f" with {self.shots} solved examples" if self.shots else ""
        return (
            f"{self.model} was asked {self.prompt!r}{system}{shots}: the best of {self.tried} ways on "
            f"{self.samples} validation answers of {self.groups} groups"
        )


class Contestant(Record):
    """Who took part: name, what it was read from, how it answered, and the hashes of all that went in."""

    name: str
    source: str
    mode: str
    model: str
    answers: int
    hashes: Hashes
    asked: AskedAs | None = None


class Comparison(Record):
    """A head-to-head of models on the same samples; the first contestant is A in every pair."""

    contestants: tuple[Contestant, ...]
    split: str
    items: int
    groups: int
    left_out: int
    draws: int
    seed: int
    warnings: tuple[Warned, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Entered:
    """A contestant with its dataset and predictions by sample id."""

    shown: Contestant
    dataset: Dataset
    made: dict[str, Prediction]
    recipe: Recipe | None = None


def enter_all(paths: Sequence[Path], data: Path | None, split: SplitName) -> list[Entered]:
    """Read each contestant; equal names are told apart by their folders.

    Raises:
        UserError: fewer than two, one named twice, no such run or file, or the dataset is not found.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    if len(paths) < 2:
        raise UserError("one model alone cannot be compared", found=list(map(str, paths)), do="name two or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("a model is compared with itself", found=list(map(str, paths)), do="name each once")
    datasets: dict[Path, Dataset] = {}
    entered = [_enter(path, data, split, datasets) for path in paths]
    names = [one.shown.name for one in entered]
    if len(set(names)) == len(names):
        return entered
    return [
        replace(one, shown=one.shown.model_copy(update={"name": one.shown.source}))
        if names.count(one.shown.name) > 1
        else one
        for one in entered
    ]


def shared_samples(entered: Sequence[Entered]) -> tuple[list[Sample], int]:
    """Return the first's samples that every contestant predicted, and how many were predicted by some only.

    Raises:
        UserError: no sample was predicted by all.
    """
    everyone = set.intersection(*(set(one.made) for one in entered))
    anyone = set.union(*(set(one.made) for one in entered))
    samples = [sample for sample in entered[0].dataset.samples if sample.id in everyone]
    if not samples:
        raise UserError(
            "these models answered no sample in common",
            found=[f"{one.shown.name}: {len(one.made)} answers" for one in entered],
            do="predict the same split of the same dataset with each (residency predict RUN --data DATASET)",
        )
    return samples, len(anyone - everyone)


def warn_contest(entered: Sequence[Entered], samples: Sequence[Sample]) -> list[Warned]:
    """Return what makes the comparison unfair, the gravest first."""
    found = []
    for one in entered:
        splits = one.dataset.splits
        trained_here = ("own", "blind", "shuffled", "mute", "probe", "knn", "textprobe", "words", "detector")
        if splits and one.shown.mode in trained_here:
            folds = [fold.split_of() for fold in splits.folds]
            trained = {
                s.group
                for s in samples
                if folds[min(one.made[s.id].fold, len(folds) - 1)].get(s.group) in set(SPLITS) - {one.made[s.id].split}
            }
            if trained:
                message = f"{one.shown.name} was trained or tuned on {len(trained)} of the groups compared."
                found.append(Warned(kind="leak", message=message))
    if len({one.shown.hashes.samples for one in entered}) > 1:
        message = f"The datasets are not the same files; truths are taken from {entered[0].dataset.folder}."
        found.append(Warned(kind="datasets-differ", message=message))
    if len({one.shown.hashes.splits for one in entered}) > 1:
        message = "The models were trained on different splits: check that none saw what is compared here."
        found.append(Warned(kind="splits-differ", message=message))
    return found


def _enter(path: Path, data: Path | None, split: SplitName, datasets: dict[Path, Dataset]) -> Entered:
    if path.is_dir():
        files = [folder / "predictions" / f"{split}.own.jsonl" for folder in run_folders(path)]
        folder, name = path, path.resolve().name
        if absent := [str(file) for file in files if not file.is_file()]:
            do = f"residency predict {path} --split {split}; or name a predictions file"
            raise UserError(f"{path} holds no answers of the tuned model", found=f"no {absent[0]}", do=do)
    elif path.is_file():
        files, folder, name = [path], path.parent, path.stem
        if named := _MODE.fullmatch(path.name):
            folder = path.parent.parent if (path.parent.parent / "config.yaml").is_file() else path.parent
            name = f"{folder.resolve().name} {named[1]}"
    else:
        raise UserError(f"{path} is neither a run nor a predictions file", found="nothing there")
    config = next((file for at in (folder, files[0].parents[1]) if (file := at / "config.yaml").is_file()), None)
    recipe = load_recipe(config) if config else None
    dataset = find_dataset(folder, recipe, data, datasets)
    made = [prediction for file in files for prediction in read_lines(file, Prediction)]
    if not made:
        raise UserError(f"{path} holds no predictions", found="empty", do="residency predict --help")
    modes = sorted({prediction.mode for prediction in made})
    if len(modes) > 1:
        raise UserError(f"{path} mixes several ways of answering", found=modes, do="keep one to a file")
    known = {sample.id: sample for sample in dataset.samples}
    check_ids({modes[0]: made}, known, files[0])
    hashes = hash_evidence(dataset.folder, files, {"own": made}, folder)
    asked = read_json(told, AskedAs) if (told := files[0].parent / ASKED).is_file() else None
    if asked:
        name = f"{Path(asked.model).name} {modes[0]}"
    shown = Contestant(
        name=name, source=str(path), mode=modes[0], model=made[0].model, answers=len(made), hashes=hashes, asked=asked
    )
    return Entered(shown, dataset, {prediction.id: prediction for prediction in made}, recipe)


def _signed(value: float) -> str:
    return f"{value + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")


def _between(versus: Versus) -> str:
    if versus.low is None or versus.high is None:
        return ""
    return f" [{_signed(versus.low)}, {_signed(versus.high)}]"
