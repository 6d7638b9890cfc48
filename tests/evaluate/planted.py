"""What a model knows, planted: a dataset of patients and a run whose confidence, looking and subgroups are known."""

from pathlib import Path

import numpy as np

from residency.config import Recipe
from residency.data.dataset import Dataset, write_dataset
from residency.files import sha256_text, write_lines, write_text
from residency.recipe import dump_recipe
from residency.types import Fold, Option, Prediction, Question, Questionnaire, Sample, Splits

NAMES = ("abdomen", "femur", "head", "thorax")
QUESTION = Question(
    id="q1",
    type="choice",
    wording="Which plane is it?",
    headings=("Plane",),
    options=tuple(Option(name=n) for n in NAMES),
)
SIZES = {"train": 20, "val": 60, "test": 60}
EACH = 5
OVERSURE = 2.5


def plant_run(folder: Path, seed: int = 0, oversure: float = OVERSURE) -> Path:
    """Write a dataset of 60 test patients, five images each, and a run that is surer than it should be.

    The truth is drawn from a softmax of logits; the run reports `oversure` times those, so that this is the
    temperature to find. Images of the old machine are harder.
    """
    rng = np.random.default_rng(seed)
    samples, made = [], {"val": [], "test": []}
    groups: dict[str, list[str]] = {}
    for split, count in SIZES.items():
        for patient in range(count):
            group = f"{split}{patient:02d}"
            groups.setdefault(split, []).append(group)
            machine = "old" if patient % 2 else "new"
            for image in range(EACH):
                logits_K = rng.normal(0, 1.2 if machine == "old" else 4, len(NAMES))
                shares_K = np.exp(logits_K - logits_K.max())
                answer = str(rng.choice(NAMES, p=shares_K / shares_K.sum()))
                sample = Sample(
                    id=f"{group}-{image}", image=f"images/{group}-{image}.png", prefix=QUESTION.wording, suffix=answer,
                    answer=answer, question="q1", group=group,
                    attributes={"machine": machine, "age": str(20 + patient % 25), "patient": group},
                )  # fmt: skip
                samples.append(sample)
                if split in made:
                    made[split].append(_predict(sample, oversure * logits_K, split))
    fold = Fold(train=tuple(groups["train"]), val=tuple(groups["val"]), test=tuple(groups["test"]))
    questionnaire = Questionnaire(name="planes", questions=(QUESTION,))
    splits = Splits(seed=0, method="planted", folds=(fold,))
    write_dataset(Dataset(folder / "dataset", tuple(samples), questionnaire, splits))
    run = folder / "runs" / "planted"
    write_text(run / "config.yaml", dump_recipe(Recipe(name="planted", data=folder / "dataset", out=folder / "runs")))
    for split, predictions in made.items():
        write_lines(run / "predictions" / f"{split}.own.jsonl", predictions)
    return run


def _predict(sample: Sample, scores_K: np.ndarray, split: str) -> Prediction:
    shares_K = np.exp(scores_K - scores_K.max())
    shares_K /= shares_K.sum()
    said = NAMES[int(shares_K.argmax())]
    return Prediction(
        id=sample.id, model="planted", mode="own", split=split, prompt_sha256=sha256_text(sample.prefix),
        prediction=said, parsed=said, candidates={n: float(s) for n, s in zip(NAMES, np.log(shares_K), strict=True)},
        confidence=float(shares_K.max()),
    )  # fmt: skip


def plant_unseeing(folder: Path, seed: int = 0, common: float = 0.92) -> Path:
    """Write a biased set (92% of the images are normal) and a run whose model ignores its images altogether."""
    rng = np.random.default_rng(seed)
    options = (Option(name="normal"), Option(name="abnormal"))
    question = Question(id="q7", type="choice", wording="Is it normal?", headings=("Normality",), options=options)
    samples = []
    for patient in range(120):
        for image in range(2):
            answer = "normal" if rng.random() < common else "abnormal"
            samples.append(
                Sample(
                    id=f"P{patient:03d}-{image}", image=f"images/P{patient:03d}-{image}.png", prefix=question.wording,
                    suffix=answer, answer=answer, question="q7", group=f"P{patient:03d}",
                )
            )  # fmt: skip
    names = sorted({sample.group for sample in samples})
    fold = Fold(train=tuple(names[:40]), val=tuple(names[40:60]), test=tuple(names[60:]))
    questionnaire = Questionnaire(name="normality", questions=(question,))
    splits = Splits(seed=0, method="planted", folds=(fold,))
    write_dataset(Dataset(folder / "dataset", tuple(samples), questionnaire, splits))
    run = folder / "runs" / "unseeing"
    write_text(run / "config.yaml", dump_recipe(Recipe(name="unseeing", data=folder / "dataset", out=folder / "runs")))
    asked = [sample for sample in samples if sample.group in fold.test]
    for mode in ("own", "blind", "shuffled"):
        made = [
            Prediction(
                id=s.id, model="m", mode=mode, split="test", prompt_sha256=sha256_text(s.prefix), prediction="normal",
                parsed="normal", candidates={"normal": -0.1, "abnormal": -2.4}, confidence=0.91,
            )
            for s in asked
        ]  # fmt: skip
        write_lines(run / "predictions" / f"test.{mode}.jsonl", made)
    return run
