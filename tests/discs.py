"""A small bench for training tests: a tiny model, a dataset of discs with two closed questions, and a recipe."""

from pathlib import Path

import yaml

from residency.data.dataset import Dataset, write_dataset
from residency.files import sha256_file
from residency.types import Fold, Option, Question, Questionnaire, Sample, Splits
from tests.contract.tiny import build_tiny_nano, draw_discs

QUESTIONNAIRE = Questionnaire(
    name="discs",
    questions=(
        Question(
            id="side",
            type="choice",
            wording="Which side is bright?",
            options=(Option(name="left side"), Option(name="right side")),
        ),
        Question(
            id="size",
            type="ordinal",
            wording="How large is the disc?",
            options=(Option(name="small disc"), Option(name="large disc")),
        ),
    ),
)


def build_bench(folder: Path, images: int = 24) -> Path:
    """Make `model`, `images`, `data` and `recipe.yaml` in a folder; every image is a group of its own."""
    build_tiny_nano(folder / "model")
    samples = disc_samples(folder / "images", images)
    write_dataset(Dataset(folder / "data", samples, QUESTIONNAIRE, cut_groups(samples)))
    recipe = {
        "name": "discs",
        "data": str(folder / "data"),
        "model": str(folder / "model"),
        "tune": {"lora": None, "train": ["vision", "projector", "language"]},
        "train": {"epochs": 4, "batch_size": 4, "questions_per_image": 2, "save_steps": 3, "patience": 10},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def disc_samples(folder: Path, images: int) -> tuple[Sample, ...]:
    ids = {question.wording: question.id for question in QUESTIONNAIRE.questions}
    return tuple(
        sample.model_copy(
            update={
                "question": ids[sample.prefix],
                "answer": sample.suffix,
                "sha256": sha256_file(Path(sample.image)),
            }
        )
        for sample in draw_discs(folder, images=images)
    )


def cut_groups(samples: tuple[Sample, ...]) -> Splits:
    """Return one fold: 14 of 24 groups to train on, 4 to validate by, the others to be examined on."""
    groups = sorted({sample.group for sample in samples})
    first, second = round(len(groups) * 14 / 24), round(len(groups) * 18 / 24)
    fold = Fold(train=tuple(groups[:first]), val=tuple(groups[first:second]), test=tuple(groups[second:]))
    return Splits(seed=0, method="by hand", folds=(fold,))
