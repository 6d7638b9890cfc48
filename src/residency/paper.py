"""An examination's paper: a recipe's samples of one split in, each way of answering them written to a file, out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from residency.answering import Candidates
from residency.config import Recipe
from residency.data.dataset import Dataset, load_dataset
from residency.data.shots import show_shots
from residency.data.take import learned_samples
from residency.engines import Engine, Pass
from residency.errors import UserError
from residency.material import require_ready, select_samples
from residency.models.family import Images
from residency.predict import (
    Asked,
    blind_images,
    candidates_of,
    mute_samples,
    shuffle_images,
    write_mean_image,
)
from residency.processes import is_first, wait_for_all
from residency.shares import write_shares
from residency.types import Mode, Sample, SplitName


@dataclass(frozen=True)
class Exam:
    """All that the ways of answering share: the recipe, the dataset, its training and asked samples, candidates."""

    recipe: Recipe
    dataset: Dataset
    training: tuple[Sample, ...]
    asked: tuple[Sample, ...]
    split: SplitName
    fold: int
    candidates: dict[str, Candidates]


def answer_modes(
    engine: Engine, exam: Exam, modes: Sequence[Mode], folder: Path
) -> tuple[list[str], int, dict[str, str]]:
    """Return the files of the ways that could be answered, how many answers were made, and why the others were not."""
    files: list[str] = []
    made, not_run = 0, dict[str, str]()
    for mode in modes:
        path = folder / f"{exam.split}.{mode}.jsonl"
        try:
            made += answer_mode(engine, exam, mode, path, folder)
            files.append(str(path))
        except UserError as error:
            if len(modes) == 1:
                raise
            not_run[mode] = error.what
    return files, made, not_run


def set_exam(recipe: Recipe, data: Path | None, split: SplitName, fold: int) -> Exam:
    """Gather what a split is asked, of the recipe's dataset or of another one, and what answers are chosen among.

    Raises:
        UserError: the split holds no annotated sample.
        CheckFailed: prompts that cannot be filled, or images that are not as they were ingested.
    """
    own = load_dataset(recipe.data)
    training = select_samples(recipe, own, learned_samples(own, recipe, fold))
    dataset = own if data is None else load_dataset(data)
    if data is None or dataset.splits is not None:
        asked = select_samples(recipe, dataset, dataset.split(split, fold if data is None else 0))
    else:
        asked = select_samples(recipe, dataset, dataset.samples)
    if not asked:
        raise UserError(
            f"{dataset.folder}: the {split} split holds no annotated sample",
            found=f"{len(dataset.samples)} samples in all",
            do="choose another --split, or annotate images of it",
        )
    require_ready(recipe, [*training, *asked])
    candidates = candidates_of(own.questionnaire, training)
    asked = show_shots(asked, training, recipe.shots)
    return Exam(recipe, dataset, tuple(training), tuple(asked), split, fold, candidates)


def answer_mode(engine: Engine, exam: Exam, mode: Mode, path: Path, folder: Path) -> int:
    """Write one way's answers to `path`, or the rest of them; return how many were made now.

    Raises:
        UserError: images of one group cannot be shuffled, or all samples ask the same (mute).
    """
    seed = exam.recipe.train.seed
    samples: Sequence[Sample] = exam.asked
    images: Images | None = None
    if mode == "blind":
        images = blind_images(samples, _mean_image(exam, folder / "mean_image.png"))
    elif mode == "shuffled":
        samples = shuffle_images(samples, seed)
    elif mode == "mute":
        samples = mute_samples(samples, seed)
    asked = Asked(exam.recipe.model if mode == "base" else exam.recipe.name, mode, exam.split, exam.fold)
    way = Pass(exam.dataset.questionnaire, exam.candidates, asked, exam.recipe.predict, images, exam.recipe.ask)
    return write_shares(path, samples, partial(engine, way), mode, exam.recipe.ask)


def _mean_image(exam: Exam, path: Path) -> Image.Image:
    """Return the mean of the training images, which the first process writes."""
    if is_first():
        write_mean_image(exam.training, path)
    wait_for_all()
    with Image.open(path) as file:
        return file.convert("RGB")
