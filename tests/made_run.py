"""A seed and wanted accuracies in; a dataset folder and a finished run folder with simulated answers on disk out."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from residency.config import Recipe
from residency.data.dataset import Dataset, write_dataset
from residency.files import sha256_text, write_json, write_lines, write_text
from residency.questionnaire import load_questionnaire, render_answer
from residency.recipe import dump_recipe
from residency.types import Answer, Fold, Prediction, Quantity, Question, Sample, Splits

ACCURACY = {"own": 0.8, "base": 0.3, "blind": 0.4, "shuffled": 0.4, "mute": 0.2, "probe": 0.65, "knn": 0.55}
ACCURACY |= {"textprobe": 0.6}
CATEGORIES = ("abdomen", "femur", "standard NT", "non-standard NT", "thorax")
OTHER_CATEGORIES = ("aorta", "cervix")
TRUE_NAMES = {  # a category's own answers to q1..q8, so that a plane decides most of them
    "abdomen": ("liver|stomach|umbilical vein", "axial upper abdomen, vertebral column to left",
                "transverse trans-abdominal plane", "AC"),
    "femur": ("diaphysis of femur|thigh muscles", "longitudinal view of femur", "longitudinal view of femur",
              "femur length"),
    "standard NT": ("nuchal translucency|nasal bone", "fetal head to left", "mid-sagittal view of head and neck",
                    "NT thickness|CRL"),
    "non-standard NT": ("nuchal translucency", "fetal head to right", "para-sagittal", "NT not measurable"),
    "thorax": ("four chambers of heart|lungs", "axial thorax, cardiac apex to left",
               "transverse 4-chamber heart view", "cardiac chamber dimensions"),
}  # fmt: skip


def make_run(
    folder: Path, seed: int = 0, groups: int = 60, folds: int = 1, modes: Mapping[str, float] = ACCURACY
) -> Path:
    """Write `folder/dataset` and `folder/runs/made`; return the run. `modes` maps each mode to its accuracy."""
    rng = np.random.default_rng(seed)
    dataset = make_dataset(folder / "dataset", rng, groups, folds)
    run = folder / "runs" / "made"
    recipe = Recipe(name="made", data=folder / "dataset", out=folder / "runs", fold="all" if folds > 1 else 0)
    write_text(run / "config.yaml", dump_recipe(recipe))
    for fold in range(folds):
        inner = run / f"fold-{fold}" if folds > 1 else run
        write_text(inner / "config.yaml", dump_recipe(recipe))
        write_json(inner / "preflight.json", make_preflight())
        write_text(inner / "metrics.jsonl", make_metrics(rng))
        for mode, accuracy in modes.items():
            made = [
                make_prediction(dataset, sample, mode, accuracy, fold, rng) for sample in dataset.split("test", fold)
            ]
            write_lines(inner / "predictions" / f"test.{mode}.jsonl", made)
    return run


def make_dataset(folder: Path, rng: np.random.Generator, groups: int, folds: int) -> Dataset:
    questionnaire = load_questionnaire("fetal8")
    samples = []
    for group in range(groups):
        for category in (CATEGORIES[group % 5], CATEGORIES[(group + 2) % 5], OTHER_CATEGORIES[group % 2]):
            name = f"images/{category}/P{group:03d}.png"
            draw_fan(folder / name, rng)
            for question in questionnaire.questions:
                samples.append(make_sample(question, name, f"P{group:03d}", category, rng))
    names = [f"P{group:03d}" for group in range(groups)]
    dataset = Dataset(folder, tuple(samples), questionnaire, Splits(seed=0, method="made", folds=cut(names, folds)))
    write_dataset(dataset)
    return dataset


def cut(names: list[str], folds: int) -> tuple[Fold, ...]:
    if folds == 1:
        third = len(names) // 3
        return (
            Fold(train=tuple(names[: -third - 5]), val=tuple(names[-third - 5 : -third]), test=tuple(names[-third:])),
        )
    made = []
    for fold in range(folds):
        test = names[fold::folds]
        val = names[(fold + 1) % folds :: folds]
        train = [name for name in names if name not in test and name not in val]
        made.append(Fold(train=tuple(train), val=tuple(val), test=tuple(test)))
    return tuple(made)


def make_sample(question: Question, image: str, group: str, category: str, rng: np.random.Generator) -> Sample:
    answer, parts = true_answers(question, category, rng) if category in TRUE_NAMES else (None, {})
    return Sample(
        id=f"{Path(image).parent.name}-{group}-{question.id}",
        image=image,
        prefix=question.wording,
        suffix=None if answer is None else render_answer(question, answer, parts),
        group=group,
        category=category,
        question=question.id,
        answer=answer,
        parts=parts,
    )


def true_answers(question: Question, category: str, rng: np.random.Generator) -> tuple[Answer, dict[str, Answer]]:
    names = TRUE_NAMES[category]
    early = "NT" in category
    match question.id:
        case "q1":
            return tuple(names[0].split("|")), {}
        case "q2":
            flipped = names[1].replace("left", "right") if rng.random() < 0.3 else names[1]
            return flipped, {}
        case "q3":
            return names[2], {}
        case "q4":
            found = tuple(names[3].split("|"))
            numbers = {part.id: part for part in question.parts}
            return found, {
                f"q4.{name}": Quantity(
                    value=round(float(rng.uniform(20, 60)), 1), unit=numbers[f"q4.{name}"].unit or ""
                )
                for name in found
                if f"q4.{name}" in numbers
            }
        case "q5":
            rank = 0 if early else int(rng.integers(2, 5))
            exact = {"q5.weeks": Quantity(value=9 + 5.0 * rank + 3 * float(rng.random()), unit="weeks")}
            return question.names[rank], exact if rng.random() < 0.3 else {}
        case "q6":
            factors = ("shadowing",) if rng.random() < 0.4 else ()
            return question.names[int(rng.integers(3))], {"q6.factors": factors}
        case "q7":
            return ("abnormal", {"q7.finding": "abnormal VSD"}) if rng.random() < 0.06 else ("normal", {})
        case _:
            return question.names[1 if early else 0], {}


def make_prediction(
    dataset: Dataset, sample: Sample, mode: str, accuracy: float, fold: int, rng: np.random.Generator
) -> Prediction:
    assert dataset.questionnaire and sample.question
    question = dataset.questionnaire.question(sample.question)
    right = rng.random() < accuracy
    unparsed = mode == "base" and rng.random() < 0.1
    shown = CATEGORIES[int(rng.integers(5))]
    answer, parts = (sample.answer, dict(sample.parts)) if right else true_answers(question, shown, rng)
    assert answer is not None
    return Prediction(
        id=sample.id,
        model="made",
        mode=mode,
        split="test",
        fold=fold,
        prompt_sha256=sha256_text(sample.prefix),
        prediction="I am a language model." if unparsed else render_answer(question, answer, parts),
        parsed=None if unparsed else answer,
        parts={} if unparsed else parts,
        confidence=float(rng.uniform(0.4, 1)),
    )


def draw_fan(path: Path, rng: np.random.Generator) -> None:
    depth, width = np.mgrid[0:160, 0:200]
    inside = (np.abs(width - 100) < 20 + 0.5 * depth) & (depth > 5)
    speckle = rng.rayleigh(60, size=(160, 200)) * inside * np.exp(-depth / 200)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(speckle, 0, 255).astype(np.uint8)).save(path)


def make_preflight() -> dict[str, object]:
    return {
        "checks": [
            {"name": "one batch is overfitted", "passed": True, "detail": "loss 5.1 -> 0.3 in 30 steps"},
            {"name": "the image reaches the model", "passed": True, "detail": "encodings differ by 0.42"},
            {"name": "prompt alone does not answer", "passed": True, "detail": "0.21 against majority 0.20"},
        ],
        "parameters": {
            "trainable": 402_432,
            "total": 10_734_592,
            "by_part": {
                "vision": {"trainable": 0, "total": 3_371_008},
                "projector": {"trainable": 66_048, "total": 66_048},
                "language": {"trainable": 336_384, "total": 7_297_536},
            },
        },
        "prompt_leak": {"q3": {"majority": 0.20, "words": 0.21}},
        "prompt_columns": [],
        "memory_mb": 812,
        "labels": [{"prompt": "Image Quality: Assess the quality.", "learned": "good image quality</s>"}],
    }


def make_metrics(rng: np.random.Generator) -> str:
    lines: list[dict[str, float]] = []
    for step in range(1, 121):
        lines.append({"step": step, "epoch": step / 20, "loss": 4 * float(np.exp(-step / 40) + 0.05 * rng.random())})
        if step % 20 == 0:
            score = 0.8 * (1 - float(np.exp(-step / 50)))
            lines.append({"step": step, "epoch": step / 20, "val_loss": 4.2 * float(np.exp(-step / 50)) + 0.3,
                          "val_score": score})  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in lines)
