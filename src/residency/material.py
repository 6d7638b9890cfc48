"""A recipe and its dataset in, the samples of one fold out, each proved usable before anything is trained or asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from residency.config import Recipe, Risk
from residency.data.audit import find_leaks
from residency.data.dataset import Dataset
from residency.data.present import find_absent
from residency.data.shots import show_shots
from residency.data.take import learned_samples
from residency.errors import CheckFailed, UserError
from residency.files import sha256_file
from residency.models.prompts import find_unfilled
from residency.types import SPLITS, Questionnaire, Sample, SplitName

_ACCEPTED: dict[Risk, tuple[str, ...]] = {
    "group-by-image": ("leak-patient", "leak-study"),
    "published-leak": ("leak-patient", "leak-study", "leak-image", "leak-file"),
}


@dataclass(frozen=True)
class Material:
    """The samples a run trains on, validates by and will be examined on, images as absolute paths.

    `val` is empty where the split names no group to validate by: such a run trains for all its epochs and keeps the
    last weights, as one does with a single patient.
    """

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    questionnaire: Questionnaire | None
    pseudo: tuple[Sample, ...] = ()


def gather_material(recipe: Recipe, dataset: Dataset, fold: int, *, sealed: bool = False) -> Material:
    """Return a fold's annotated samples; without a test split a run is not worth beginning.

    `sealed` leaves the test split out: none of its samples is returned, none of its images opened.

    Raises:
        UserError: a split is empty (validation may be, if the fold names no group for it), or the dataset lacks a
            fold, or a question of the recipe.
        CheckFailed: images that are missing, changed or unreadable; prompts that cannot be filled; groups or images
            that stand in two splits. All of them.
    """
    names = [name for name in SPLITS if not (sealed and name == "test")]
    learned = learned_samples(dataset, recipe, fold)
    splits = {
        name: select_samples(recipe, dataset, learned if name == "train" else dataset.split(name, fold))
        for name in names
    }
    validates = bool(dataset.require_fold(fold).val)
    if empty := [name for name, samples in splits.items() if not samples and (validates or name != "val")]:
        asked = f" to {', '.join(recipe.questions)}" if recipe.questions else ""
        raise UserError(
            f"{dataset.folder}: fold {fold} has no annotated sample{asked} in its split: {', '.join(empty)}",
            found=", ".join(f"{name} {len(samples)}" for name, samples in splits.items()),
            do="annotate more groups, or draw the splits anew: residency ingest ... --seed N (or --resplit)",
        )
    require_ready(recipe, [sample for samples in splits.values() for sample in samples])
    require_apart(recipe, dataset, fold, splits)
    shown = {name: show_shots(samples, splits["train"], recipe.shots) for name, samples in splits.items()}
    train, val, test = (tuple(shown.get(name, ())) for name in SPLITS)
    return Material(train, val, test, dataset.questionnaire)


def select_samples(recipe: Recipe, dataset: Dataset, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the recipe's questions with absolute image paths.

    Raises:
        UserError: the recipe names a question that the dataset does not have.
    """
    if recipe.questions is not None:
        there = {sample.question for sample in dataset.samples}
        if missing := [id for id in recipe.questions if id not in there]:
            raise UserError(
                f"the recipe {recipe.name} asks questions that {dataset.folder} has not",
                found=missing,
                allowed=sorted(id for id in there if id),
                do="mend `questions` in the recipe, or leave it out to take all",
            )
        samples = [sample for sample in samples if sample.question in recipe.questions]
    return [sample.model_copy(update={"image": str(dataset.image_path(sample).resolve())}) for sample in samples]


def require_apart(recipe: Recipe, dataset: Dataset, fold: int, splits: Mapping[SplitName, Sequence[Sample]]) -> None:
    """Make sure that nothing a model trains on is examined: no group, image or file's content in two splits.

    Splits may come from elsewhere (VQA-RAD's published test images all stand in its train split). Patients, where
    they are known beside the groups, count too, unless the recipe accepts `group-by-image`; pictures count, unless it
    accepts `published-leak`.

    Raises:
        CheckFailed: `apart`, with everything that stands in two splits.
    """
    images = {sample.image: sample.sha256 for samples in splits.values() for sample in samples}
    hashes = {image: digest or sha256_file(Path(image)) for image, digest in images.items()}
    seen = tuple(
        sample.model_copy(update={"sha256": hashes[sample.image]}) for samples in splits.values() for sample in samples
    )
    one = dataset.require_splits().model_copy(update={"folds": (dataset.require_fold(fold),)})
    accepted = [kind for risk in recipe.accept for kind in _ACCEPTED.get(risk, ())]
    leaks = [leak for leak in find_leaks(replace(dataset, samples=seen, splits=one), ()) if leak.kind not in accepted]
    if leaks:
        raise CheckFailed(
            "apart",
            leaks,
            do="draw the splits anew, so that no group and no picture stands in two: residency ingest ... --resplit",
        )


def require_ready(recipe: Recipe, samples: Iterable[Sample]) -> None:
    """Make sure that every sample's prompt can be filled and its image is there as it was ingested.

    Raises:
        CheckFailed: `prompts` or `images`, with everything that is wrong.
    """
    samples = list(samples)
    if unfilled := find_unfilled(recipe.prompt, samples):
        raise CheckFailed(
            "prompts",
            unfilled,
            do=f"mend the recipe's prompt ({recipe.prompt}), or fill these cells and ingest again",
        )
    if absent := find_absent(samples):
        raise CheckFailed(
            "images", absent, do="put these files back as they were, or ingest again without them (a new --out)"
        )
