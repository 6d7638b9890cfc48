"""Real folders of ../shared/data in, experiments out: one dataset each, and its fixed draws of training groups.

Every draw is a split without validation groups: with one training patient there is none to spare, so rows train for a
number of steps that was set beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_ingest import INGESTS, RECIPES
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.split import make_splits
from residency.types import Fold, Questionnaire, Sample, Splits


@dataclass(frozen=True)
class Experiment:
    """What is asked of a folder: the scored question, the sizes of the training set, the recipe and its changes.

    `steps` is how many optimizer steps nano takes at least, `lite_steps` how many EfficientNet-Lite0 takes.
    """

    name: str
    title: str
    source: str
    question: str
    sizes: tuple[int, ...]
    recipe: Path
    steps: int
    lite_steps: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    speaks: bool = False
    """Whether the question's words differ from sample to sample, so that they tell something."""

    @property
    def measures(self) -> bool:
        """Whether the answer is a length in mm."""
        return self.question == "hc"


EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment(
            "a", "Fetal planes, 4 classes: balanced accuracy, by training patients", "fetal_planes", "q3",
            (1, 2, 5, 9), RECIPES / "fetal8-few-nano.yaml", 60, 60,
        ),
        Experiment(
            "b", "Head circumference: mean absolute error in mm, by training images", "fetal_head", "hc",
            (25, 50, 100), RECIPES / "head-circumference-nano.yaml", 80, 150,
        ),
        Experiment(
            "c", "Lung ultrasound, 4 labels, 5 folds by patient: balanced accuracy", "lung_ultrasound", "label",
            (0,), RECIPES / "fetal8-few-nano.yaml", 60, 60, {"train.questions_per_image": 1, "train.batch_size": 16},
        ),
        Experiment(
            "d", "VQA-RAD, yes or no, 5 folds by image: accuracy", "vqa_rad", "free",
            (0,), RECIPES / "fetal8-nano.yaml", 120, 120, {"accept": ["prompt-leak"]}, True,
        ),
        Experiment(
            "s", "Simulated planes of a site never trained on: balanced accuracy, by training patients", "", "q3",
            (1, 2, 5, 9), RECIPES / "fetal8-few-nano.yaml", 60, 60,
        ),
    )
}  # fmt: skip
"""`s` mirrors `a` on phantoms: what is chosen for `a` is chosen there, never on `a`'s patients."""


@dataclass(frozen=True)
class Draw:
    """One choice of training groups: training samples (all questions), test samples (the scored one), bare images."""

    experiment: Experiment
    size: int
    number: int
    questionnaire: Questionnaire
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    bare: tuple[Sample, ...] = ()
    """Images of further groups without their answers."""

    @property
    def asked(self) -> list[Sample]:
        """The training samples of the scored question."""
        return [sample for sample in self.train if sample.question == self.experiment.question]

    @property
    def name(self) -> str:
        """A folder's name for it."""
        return f"{self.experiment.name}-{self.size}-{self.number}"

    def cut(self, train: int, test: int) -> "Draw":
        """Return the draw with at most so many images on either side."""
        kept = []
        for samples, most in ((self.train, train), (self.test, test)):
            images = sorted({sample.image for sample in samples})
            some = {images[k] for k in np.random.default_rng(len(images)).permutation(len(images))[:most]}
            kept.append(tuple(sample for sample in samples if sample.image in some))
        return replace(self, train=kept[0], test=kept[1])

    def halves(self) -> tuple["Draw", "Draw"]:
        """Return two draws that test one half of the test groups each; the other half's images are bare in it.

        So no image is both learned from, answerless as it is, and tested.
        """
        groups = sorted({sample.group for sample in self.test})
        order = np.random.default_rng([7, self.size, self.number]).permutation(len(groups))
        first = {groups[k] for k in order[: len(groups) // 2]}
        one, other = (tuple(s for s in self.test if (s.group in first) == held) for held in (True, False))
        return replace(self, test=one, bare=_bare(other)), replace(self, test=other, bare=_bare(one))


def write_draw(draw: Draw, folder: Path) -> Path:
    """Write a draw as the dataset folder that the product trains on; returns it."""
    names = [tuple(sorted({s.group for s in part})) for part in ((*draw.train, *draw.bare), draw.test)]
    splits = Splits(
        seed=0, method=f"{draw.name} of the benchmark", folds=(Fold(train=names[0], val=(), test=names[1]),)
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_dataset(Dataset(folder, (*draw.train, *draw.bare, *draw.test), draw.questionnaire, splits))
    return folder


def prepare(experiment: Experiment, shared: Path, work: Path) -> Dataset:
    """Ingest an experiment's folder once into the work folder; images come out as absolute paths."""
    out = work / experiment.name / "dataset"
    if not (out / "samples.jsonl").is_file():
        INGESTS[experiment.name](shared / experiment.source, out)
    dataset = load_dataset(out)
    assert dataset.questionnaire is not None
    samples = [s.model_copy(update={"image": str(dataset.image_path(s).resolve())}) for s in dataset.samples]
    return replace(
        dataset,
        samples=tuple(sample for sample in samples if sample.suffix is not None),
        questionnaire=_only_seen(dataset.questionnaire, samples, experiment.question),
    )


def draws_of(experiment: Experiment, dataset: Dataset, size: int) -> list[Draw]:
    """Return the fixed draws of one size; `size` 0: five folds."""
    assert dataset.questionnaire is not None
    samples = dataset.samples
    groups = sorted({sample.group for sample in samples})
    if size == 0:
        folds = make_splits(samples, folds=5, ratios=(0.8, 0.0, 0.2), seed=0).folds
        chosen = [(set(fold.train), set(fold.test)) for fold in folds]
    elif experiment.measures:
        chosen = _choose_images(samples, groups, size)
    else:
        chosen = _choose_patients(groups, size)
    return [
        Draw(
            experiment,
            size,
            number,
            dataset.questionnaire,
            tuple(sample for sample in samples if sample.group in train),
            tuple(s for s in samples if s.group in test and s.question == experiment.question),
        )
        for number, (train, test) in enumerate(chosen)
    ]


def _choose_patients(groups: Sequence[str], size: int) -> list[tuple[set[str], set[str]]]:
    """Return 10 choices of `size` of the first 10 patients, each equally often chosen; the others are tested."""
    pool = [groups[k] for k in np.random.default_rng(size).permutation(10)]
    chosen = [{pool[(first + k) % 10] for k in range(size)} for first in range(10)]
    test = set(groups) if len(groups) == 10 else set(groups[10:])
    return [(train, test - train) for train in chosen]


def _choose_images(samples: Sequence[Sample], groups: Sequence[str], size: int) -> list[tuple[set[str], set[str]]]:
    """Return 5 choices of whole groups that hold `size` images together; the others are tested."""
    images = {group: len({s.image for s in samples if s.group == group}) for group in groups}
    choices = []
    for number in range(5):
        train: set[str] = set()
        for k in np.random.default_rng([size, number]).permutation(len(groups)):
            if sum(images[group] for group in train) + images[groups[k]] <= size:
                train.add(groups[k])
        choices.append((train, set(groups) - train))
    return choices


def _bare(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return each image once, as ingest keeps one that has no answers."""
    one_each = {sample.image: sample for sample in samples}
    return tuple(
        Sample(id=Path(image).name, image=image, prefix="", group=s.group, spacing_mm=s.spacing_mm, sha256=s.sha256)
        for image, s in sorted(one_each.items())
    )


def _only_seen(questionnaire: Questionnaire, samples: Sequence[Sample], id: str) -> Questionnaire:
    """Return the questionnaire whose scored question offers only answers that occur, as to every other row."""
    seen = {str(sample.answer) for sample in samples if sample.question == id}
    questions = tuple(
        q.model_copy(update={"options": tuple(o for o in q.options if o.name in seen)}) if q.id == id else q
        for q in questionnaire.questions
    )
    return questionnaire.model_copy(update={"questions": questions})
