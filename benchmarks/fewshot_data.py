"""Real folders of ../shared/data in, experiments out: one dataset each, and its fixed draws of training groups.

Every draw is a split without validation groups: with one training patient there is none to spare, so rows train for a
number of steps that was set beforehand.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.ingest import ingest
from residency.data.split import make_splits
from residency.files import write_text
from residency.questionnaire import dump_questionnaire, load_questionnaire
from residency.types import Fold, Option, Question, Questionnaire, Sample, Splits
from residency.ultrasound.phantom import HELD_OUT_SITE, draw_image

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
SIDE = 512
"""Longest side in pixels that large radiographs are kept at; the largest network here sees 224."""
PLANES = {
    "abdomen": ("fetal abdomen", "Transverse trans-abdominal plane", "AC"),
    "brain": ("fetal head", "Axial plane of head", "BPD and HC"),
    "femur": ("diaphysis of femur", "Longitudinal view of femur", "Femur length"),
    "thorax": ("fetal thorax, four chambers of heart", "Transverse 4-chamber heart view", "Cardiac chamber dimensions"),
}
"""The rule by which fetal_planes answers q1, q3 and q4 from a plane's label."""
CATEGORIES = {
    "abdomen": ("abdomen",),
    "brain": ("trans-thalamic", "trans-cerebellum", "trans-ventricular"),
    "femur": ("femur",),
    "thorax": ("thorax",),
}
"""The simulator's categories that show each plane."""


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


EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment(
            "a", "Fetal planes, 4 classes: balanced accuracy, by training patients", "fetal_planes", "q3",
            (1, 2, 5, 9), RECIPES / "fetal8-nano.yaml", 60, 60,
        ),
        Experiment(
            "b", "Head circumference: mean absolute error in mm, by training images", "fetal_head", "hc",
            (25, 50, 100), RECIPES / "head-circumference-nano.yaml", 80, 150,
        ),
        Experiment(
            "c", "Lung ultrasound, 4 labels, 5 folds by patient: balanced accuracy", "lung_ultrasound", "label",
            (0,), RECIPES / "fetal8-nano.yaml", 60, 60, {"train.questions_per_image": 1, "train.batch_size": 16},
        ),
        Experiment(
            "d", "VQA-RAD, yes or no, 5 folds by image: accuracy", "vqa_rad", "free",
            (0,), RECIPES / "fetal8-nano.yaml", 120, 120, {"accept": ["prompt-leak"]}, True,
        ),
        Experiment(
            "s", "Simulated planes of a site never trained on: balanced accuracy, by training patients", "", "q3",
            (1, 2, 5, 9), RECIPES / "fetal8-nano.yaml", 60, 60,
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
    def name(self) -> str:
        """A folder's name for it."""
        return f"{self.experiment.name}-{self.size}-{self.number}"

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
    elif experiment.question == "hc":
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


def _ingest_planes(source: Path, out: Path) -> None:
    ingest(source / "answers.xlsx", source / "images", "fetal8", out, "column:Patient")


def _ingest_heads(source: Path, out: Path) -> None:
    questionnaire = str(RECIPES / "head-circumference.questionnaire.yaml")
    sheet = source / "head_circumference.csv"
    ingest(sheet, source / "image", questionnaire, out, r"pattern:^(\d+)_", skip_bad=True)


def _ingest_lungs(source: Path, out: Path) -> None:
    entries = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    labels = sorted({entry["Label"] for entry in entries})
    rows = [[e["image"], e["Patient ID / Name"] or e["source"], e["Label"], e["Label"]] for e in entries]
    sheet = _write_sheet(out.with_name("labels.csv"), ["Image", "Patient", "Category", "Label"], rows)
    wording = "Lung ultrasound: Name what the lung shows."
    questionnaire = _write_question(out.with_name("lungs.yaml"), "label", wording, labels)
    ingest(sheet, source, questionnaire, out, "column:Patient")


def _ingest_radiographs(source: Path, out: Path) -> None:
    entries = json.loads((source / "VQA_RAD Dataset Public.json").read_text(encoding="utf-8"))
    closed = [e for e in entries if e["answer_type"].strip() == "CLOSED" and _plain(e["answer"]) in ("yes", "no")]
    images = out.with_name("images")
    for name in sorted({entry["image_name"] for entry in closed}):
        _shrink(source / "images" / name, images / name)
    lines = [
        {"image": entry["image_name"], "prefix": entry["question"].strip(), "suffix": _plain(entry["answer"])}
        for entry in closed
    ]
    sheet = out.with_name("closed.jsonl")
    write_text(sheet, "".join(json.dumps(line) + "\n" for line in lines))
    questionnaire = _write_question(out.with_name("closed.yaml"), "free", "As each line asks.", ["yes", "no"])
    ingest(sheet, images, questionnaire, out, "image", skip_bad=True)


def _ingest_phantoms(source: Path, out: Path) -> None:
    """Draw 25 patients of the held-out site, one picture a plane; the first 10 are there to learn from."""
    images, rows = out.with_name("images"), []
    images.mkdir(parents=True, exist_ok=True)
    for patient in range(25):
        for number, (plane, (structures, view, measure)) in enumerate(PLANES.items()):
            category = CATEGORIES[plane][patient % len(CATEGORIES[plane])]
            name = f"P{patient:02d}_{plane}.png"
            drawing = draw_image(category, (2611, patient, number), HELD_OUT_SITE)
            Image.fromarray(drawing.image).save(images / name)
            rows.append([name, f"P{patient:02d}", structures, view, measure])
    wordings = [load_questionnaire("fetal8").question(id).wording for id in ("q1", "q3", "q4")]
    sheet = _write_sheet(out.with_name("planes.csv"), ["Image", "Patient", *wordings], rows)
    ingest(sheet, images, "fetal8", out, "column:Patient")


INGESTS: dict[str, Callable[[Path, Path], None]] = {
    "a": _ingest_planes,
    "b": _ingest_heads,
    "c": _ingest_lungs,
    "d": _ingest_radiographs,
    "s": _ingest_phantoms,
}


def _write_sheet(path: Path, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([headings, *rows])
    return path


def _write_question(path: Path, id: str, wording: str, names: Sequence[str]) -> str:
    options = tuple(Option(name=name) for name in names)
    question = Question(id=id, type="choice", wording=wording, options=options)
    write_text(path, dump_questionnaire(Questionnaire(name=path.stem, questions=(question,))))
    return str(path)


def _shrink(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as file:
        picture = file.convert("L")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(target, quality=95)


def _plain(answer: object) -> str:
    return str(answer).strip().lower()
