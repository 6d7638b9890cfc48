"""A run folder or a predictions file in; its predictions by mode, with their folds pooled, and its dataset out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from residency import __version__
from residency.config import Recipe
from residency.data.dataset import Dataset, load_dataset
from residency.data.take import learned_samples
from residency.errors import CheckFailed, UserError
from residency.evaluate.floors import predict_majority
from residency.evaluate.measure import METRIC_VERSION
from residency.evaluate.records import Hashes
from residency.files import read_lines, sha256_file, sha256_text
from residency.recipe import load_recipe
from residency.types import MODES, SPLITS, Floor, Prediction, Problem, Sample, Source, SplitName

OTHERS: tuple[str, ...] = (
    *("majority", "base", "blind", "shuffled", "mute"),
    *("probe", "textprobe", "knn", "words", "detector"),
)
"""What the tuned model is compared with, in the order shown."""
OUTSIDE = ("words", "detector")
"""Nothing is missed where these are not: prompts that are alike tell nothing, a detector comes from elsewhere."""
_NAMED = re.compile(rf"({'|'.join((*SPLITS, 'all'))})\.({'|'.join((*MODES, *get_args(Floor)))})\.jsonl")


@dataclass(frozen=True)
class Evidence:
    """All that an examination needs: the samples of a split, and the predictions made for them by mode or floor.

    `validation` holds the tuned model's answers to the validation split, where they were made.
    """

    name: str
    folder: Path
    split: str
    dataset: Dataset
    recipe: Recipe | None
    files: tuple[Path, ...]
    folds: tuple[int, ...]
    samples: tuple[Sample, ...]
    predictions: dict[str, list[Prediction]]
    hashes: Hashes
    validation: tuple[Prediction, ...] = ()


def read_run(run: Path, data: Path | None = None, split: SplitName = "test") -> Evidence:
    """Read a run folder's predictions of a split; with `fold-k/` folders those of all folds, pooled.

    Raises:
        UserError: no such run, no predictions by the tuned model, or the dataset is not found.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    folders = run_folders(run)
    config = next((file for folder in (run, *folders) if (file := folder / "config.yaml").is_file()), None)
    if config is None:
        raise UserError(f"{run} is not a run", found="no config.yaml", do="name a folder that `residency train` wrote")
    files = sorted(file for folder in folders for file in (folder / "predictions").glob(f"{split}.*.jsonl"))
    if not any(file.name == f"{split}.own.jsonl" for file in files):
        raise UserError(
            f"{run} holds no answers of the tuned model",
            found=[file.name for file in files] or "no predictions",
            do=f"residency predict {run} --split {split} --as all",
        )
    return _collect(run, split, files, load_recipe(config), data)


def read_siblings(file: Path, data: Path | None = None) -> Evidence:
    """Read a predictions file and those beside it with the same split (`test.own.jsonl`, `test.blind.jsonl`, ...).

    Raises:
        UserError: no such file, or the dataset is not found.
        CheckFailed: unreadable lines, predictions of unknown samples, or a sample predicted twice.
    """
    if not file.is_file():
        raise UserError(f"no predictions file {file}", do="residency predict --help")
    named = _NAMED.fullmatch(file.name)
    files = sorted(file.parent.glob(f"{named[1]}.*.jsonl")) if named else [file]
    config = file.parent.parent / "config.yaml"
    recipe = load_recipe(config) if config.is_file() else None
    folder = file.parent.parent if recipe else file.parent
    split = named[1] if named else next((made.split for made in read_lines(file, Prediction)), "test")
    return _collect(folder, split, files, recipe, data)


def run_folders(run: Path) -> list[Path]:
    """Return the folders that hold a run's predictions: its own, else its `fold-k/` folders in order of k."""
    folds = [folder for folder in run.glob("fold-*") if (folder / "predictions").is_dir()]
    if (run / "predictions").is_dir() or not folds:
        return [run]
    return sorted(folds, key=lambda folder: int(folder.name.removeprefix("fold-")))


def _collect(folder: Path, split: str, files: list[Path], recipe: Recipe | None, data: Path | None) -> Evidence:
    dataset = find_dataset(folder, recipe, data)
    asked = recipe.questions if recipe else None
    known = {
        sample.id: sample
        for sample in dataset.samples
        if asked is None or sample.question is None or sample.question in asked
    }
    predictions: dict[str, list[Prediction]] = {}
    for file in files:
        for made in read_lines(file, Prediction):
            predictions.setdefault(made.mode, []).append(made)
    check_ids(predictions, known, files[0])
    predictions = _with_folds_of(dataset, predictions)
    folds = tuple(sorted({made.fold for found in predictions.values() for made in found}))
    samples = _expected(dataset, known, split, folds, predictions)
    beside = [file for at in sorted({f.parent for f in files}) if (file := at / "val.own.jsonl").is_file()]
    beside = [] if split == "val" else beside
    if split in SPLITS and dataset.splits:
        predictions["majority"] = _majority(dataset, recipe, samples, split, folds)
    return Evidence(
        recipe.name if recipe else files[0].name,
        folder,
        split,
        dataset,
        recipe,
        tuple(files),
        folds,
        samples,
        predictions,
        hash_evidence(dataset.folder, [*files, *beside], predictions, folder),
        tuple(made for file in beside for made in read_lines(file, Prediction) if made.id in known),
    )


def find_dataset(
    folder: Path, recipe: Recipe | None, data: Path | None, loaded: dict[Path, Dataset] | None = None
) -> Dataset:
    """Return the dataset that a folder's predictions answer: the named one, else the recipe's; read once if `loaded`.

    Raises:
        UserError: there is none.
    """
    tried = [data] if data else [recipe.data, folder / recipe.data] if recipe else []
    known = {} if loaded is None else loaded
    for path in tried:
        if (path / "samples.jsonl").is_file():
            if path.resolve() not in known:
                known[path.resolve()] = load_dataset(path)
            return known[path.resolve()]
    found = [str(path) for path in tried] or "no dataset named"
    raise UserError("the dataset that these predictions answer is not found", found=found, do="name it with --data")


def _with_folds_of(dataset: Dataset, predictions: dict[str, list[Prediction]]) -> dict[str, list[Prediction]]:
    """Return the predictions with folds that the dataset has; one with a plain split has its own, whatever the run's.

    Raises:
        UserError: predictions of a fold that a dataset of several folds does not have.
    """
    count = len(dataset.splits.folds) if dataset.splits else 0
    beyond = sorted({made.fold for found in predictions.values() for made in found if count and made.fold >= count})
    if not beyond:
        return predictions
    if count > 1:
        raise UserError(f"{dataset.folder} has no such fold", found=beyond, allowed=f"0 to {count - 1}")
    return {mode: [made.model_copy(update={"fold": 0}) for made in found] for mode, found in predictions.items()}


def _expected(
    dataset: Dataset,
    known: dict[str, Sample],
    split: str,
    folds: tuple[int, ...],
    predictions: dict[str, list[Prediction]],
) -> tuple[Sample, ...]:
    """Return the samples that ought to be predicted: the split's in these folds, else those that were."""
    if dataset.splits and split in SPLITS:
        groups = {group for fold in folds for group in getattr(dataset.splits.folds[fold], split)}
        return tuple(sample for sample in known.values() if sample.group in groups and sample.suffix is not None)
    made = {prediction.id for found in predictions.values() for prediction in found}
    return tuple(sample for sample in known.values() if sample.id in made and sample.suffix is not None)


def check_ids(predictions: dict[str, list[Prediction]], known: dict[str, Sample], file: Path) -> None:
    """Raise CheckFailed where predictions are of unknown samples, or two are of one."""
    problems = []
    for mode, made in predictions.items():
        seen: set[str] = set()
        for prediction in made:
            place = Source(file=str(file.parent), cell=f"{mode} {prediction.id}")
            if prediction.id not in known:
                problems.append(Problem(kind="unknown-sample", message="the dataset has no such sample", source=place))
            if prediction.id in seen:
                problems.append(Problem(kind="predicted-twice", message="two predictions for one sample", source=place))
            seen.add(prediction.id)
    if problems:
        raise CheckFailed("one-prediction-a-sample", problems, do="name the dataset that was predicted with --data")


def _majority(
    dataset: Dataset, recipe: Recipe | None, samples: tuple[Sample, ...], split: str, folds: tuple[int, ...]
) -> list[Prediction]:
    """Return the majority answers of the training splits.

    Of several folds it is one answer over all their training splits: what is commonest in one fold's training split
    is by construction rarer in its test split, so an answer a fold would score below what any constant does.
    """
    train = [sample for fold in folds for sample in learned_samples(dataset, recipe, fold)]
    named: SplitName = "val" if split == "val" else "train" if split == "train" else "test"
    return predict_majority(train, samples, dataset.questionnaire, named)


def hash_evidence(data: Path, files: list[Path], predictions: dict[str, list[Prediction]], run: Path) -> Hashes:
    """Return the hashes of all that scores are made from and with; prompts are those of `own`."""
    package = Path(__file__).parents[1]
    prompts = "\n".join(f"{made.id} {made.prompt_sha256}" for made in sorted(predictions.get("own", []), key=_by_id))
    return Hashes(
        samples=sha256_file(data / "samples.jsonl"),
        splits=_hash_file(data / "splits.json"),
        questionnaire=_hash_file(data / "questionnaire.yaml"),
        prompts=sha256_text(prompts),
        predictions={str(file.relative_to(run)): sha256_file(file) for file in files},
        code=_hash_files(package.rglob("*.py")),
        version=__version__,
        metric=_hash_files((package / "evaluate").glob("*.py")),
        metric_version=METRIC_VERSION,
    )


def _by_id(made: Prediction) -> str:
    return made.id


def _hash_file(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def _hash_files(paths: Iterable[Path]) -> str:
    return sha256_text("\n".join(f"{path.name} {sha256_file(path)}" for path in sorted(paths)))
