"""A draw of training groups and a row's name in, its answers to the test samples and the seconds of training out."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

from fewshot_data import Draw, write_draw
from fewshot_lite import Course, Lesson, Lite, ask_lite, fit_lite, read_grey, see_lite, start_lite, train_on_phantoms
from residency.config import Recipe, dump_recipe, load_recipe
from residency.data.batches import ImageBatches
from residency.evaluate.floors import Probe, predict_floor, predict_majority
from residency.exam import predict_run
from residency.files import read_lines, sha256_file, sha256_text
from residency.models.registry import SHORT_NAMES, Opened, open_model
from residency.train import train_run
from residency.types import Answer, Mode, Prediction, Quantity, Sample

NANO: dict[str, dict[str, Any]] = {"tuned": {}, "random": {"model": "random"}}
ABLATIONS: dict[str, dict[str, Any]] = {
    "LoRA": {"tune.lora": {"rank": 16, "alpha": 32, "parts": ["language"]}, "tune.train": ["projector"]},
    "selective": {"tune.lora": None, "tune.train": ["projector", "language"]},
    "full": {
        "tune.lora": None,
        "tune.train": ["vision", "projector", "language"],
        "train.part_learning_rates": {"vision": 1e-4},
    },
    "without contrastive": {"train.contrastive": None},
    "with contrastive": {"train.contrastive": {}},
    "without augmentation": {"train.augment": "none"},
    "without simulation": {"model": "imagenet"},
    "without self-training": {"train.self_training": None},
    "with self-training": {"train.self_training": {}},
}
"""What each ablation changes in the shipped recipe; one that changes nothing is the shipped recipe and is not run."""
TITLES = {
    "tuned": "nano, tuned with the shipped recipe",
    "random": "nano from random weights, the same recipe",
    "probe": "linear probe on nano's tower",
    "knn": "nearest neighbours on nano's tower",
    "lite-probe": "linear probe on EfficientNet-Lite0",
    "lite-tuned": "EfficientNet-Lite0, fine-tuned",
    "lite-phantoms": "EfficientNet-Lite0, fine-tuned after the same phantoms",
    "majority": "majority answer",
    "blind": "nano, tuned, blind (the mean image)",
    "words": "the question's words alone",
}
ABLATED = {("a", 1), ("b", 100), ("s", 1)}


@dataclass(frozen=True)
class Made:
    """What a row answered, by sample id (None: no answer could be read), and how long it trained."""

    answers: dict[str, Answer | None]
    seconds: float


@dataclass
class Bench:
    """What all rows share: the folder they work in, the phantoms, and whether everything is cut to a minimum."""

    work: Path
    phantoms: tuple[Path, ...]
    quick: bool
    say: Callable[[str], None]
    features: dict[tuple[str, str], tuple[np.ndarray, float]] = field(default_factory=dict)
    """By kind and image path: the frozen features, and the seconds they took."""
    pictures: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)

    @cached_property
    def nano(self) -> Opened:
        """The shipped nano."""
        opened = open_model("nano")
        opened.loaded.model.eval()
        return opened

    @cached_property
    def lite(self) -> Lite:
        """EfficientNet-Lite0 with ImageNet's weights, frozen."""
        return start_lite(1, 0, 0).eval()

    @cached_property
    def nano_hash(self) -> str:
        """The SHA-256 of the shipped nano's weights."""
        return sha256_text(
            "".join(sha256_file(file) for file in sorted(Path(SHORT_NAMES["nano"]).glob("*.safetensors")))
        )

    @cached_property
    def phantom_weights(self) -> Path:
        """EfficientNet-Lite0 after naming the planes of phantoms, with the trial's settings."""
        self.say("EfficientNet-Lite0 learns the phantoms' planes (once)")
        course = Course(2, 1e-3, 4) if self.quick else Course(400, 1e-3, 32)
        return train_on_phantoms(self.phantoms, self.work, course, 16 if self.quick else 8000)

    def model(self, name: str) -> str:
        """Return the folder of nano with random weights, its tower's too or from ImageNet; `nano` is the shipped."""
        if name == "nano":
            return name
        folder = self.work / f"{name}-{self.nano_hash[:12]}"
        if not folder.is_dir():
            core, part = self.nano.loaded.core, folder.with_suffix(".part")
            torch.manual_seed(0)
            fresh = type(core)(core.config)
            fresh.model.vision_tower.initialize()
            if name == "imagenet":
                fresh.model.vision_tower.load_state_dict(start_lite(1, 0, 0).tower.state_dict())
            fresh.save_pretrained(part)
            self.nano.loaded.processor.save_pretrained(part)
            part.replace(folder)
        return str(folder)


def rows_of(draw: Draw) -> list[str]:
    """Return the rows that a draw is asked for."""
    rows = [row for row in TITLES if row != "words" or draw.experiment.speaks]
    return rows + (list(ABLATIONS) if (draw.experiment.name, draw.size) in ABLATED else [])


def settings_of(bench: Bench, draw: Draw, row: str) -> str:
    """Return a digest of what a row's answers depend on, beside the code; '' where an ablation changes nothing."""
    said: list[str] = [row if row != "blind" else "tuned", str(bench.quick)]
    if row in NANO or row in ABLATIONS or row == "blind":
        recipe = recipe_of(bench, draw, row)
        if row in ABLATIONS and recipe == recipe_of(bench, draw, "tuned"):
            return ""
        said += [dump_recipe(recipe), str(draw.experiment.steps), bench.nano_hash]
    elif row in ("probe", "knn"):
        said.append(bench.nano_hash)
    elif row == "lite-phantoms":
        said += [*map(str, bench.phantoms), str(draw.experiment.lite_steps)]
    elif row == "lite-tuned":
        said.append(str(draw.experiment.lite_steps))
    return sha256_text(json.dumps(said))[:12]


def make_row(bench: Bench, draw: Draw, row: str) -> dict[str, Made]:
    """Train and answer; a tuned nano answers blind as well, so one training gives two rows."""
    if row in ("tuned", "blind"):
        return dict(zip(("tuned", "blind"), _tune_nano(bench, draw, "tuned", ("own", "blind")), strict=True))
    if row in NANO or row in ABLATIONS:
        return {row: _tune_nano(bench, draw, row, ("own",))[0]}
    return {row: _MAKERS[row](bench, draw)}


def recipe_of(bench: Bench, draw: Draw, row: str) -> Recipe:
    """Return the shipped recipe with the experiment's and the row's changes; training sets its number of epochs."""
    changes = {**draw.experiment.overrides, **NANO.get(row, {}), **ABLATIONS.get(row, {})}
    changes |= {"name": "cell", "train.save_steps": 100_000, "model": bench.model(changes.get("model", "nano"))}
    return load_recipe(draw.experiment.recipe, [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def _tune_nano(bench: Bench, draw: Draw, row: str, modes: tuple[Mode, ...]) -> list[Made]:
    """Ingested samples, `train_run`, `predict_run`: the path that a user's data takes; a Made for each mode."""
    recipe = recipe_of(bench, draw, row)
    parts = draw.halves() if recipe.train.self_training else (draw,)
    made = [Made({}, 0.0) for _ in modes]
    for part in parts:
        seconds = _train_part(bench, part, recipe)
        predict_run(bench.work / "cell" / "runs" / "cell", modes=modes, floors=False)
        for place, mode in enumerate(modes):
            lines = read_lines(bench.work / "cell" / "runs" / "cell" / "predictions" / f"test.{mode}.jsonl", Prediction)
            answers = made[place].answers | {line.id: line.parsed for line in lines}
            made[place] = Made(answers, made[place].seconds + seconds / len(parts))
    return made


def _train_part(bench: Bench, draw: Draw, recipe: Recipe) -> float:
    """Train on a draw, from its first step on; returns the seconds."""
    folder = bench.work / "cell"
    shutil.rmtree(folder, ignore_errors=True)
    data = write_draw(draw, folder / "data")
    train = recipe.train.model_copy(update={"epochs": 1 if bench.quick else epochs_of(draw, recipe)})
    recipe = recipe.model_copy(update={"data": data, "out": folder / "runs", "train": train})
    began = perf_counter()
    trained = train_run(recipe, folder / "runs" / "cell", 0, lambda line: None)
    if trained.stopped == "interrupted":
        raise KeyboardInterrupt
    return perf_counter() - began


def epochs_of(draw: Draw, recipe: Recipe) -> int:
    """Return the epochs that give the experiment's number of steps."""
    settings = recipe.train
    batches = ImageBatches(
        draw.train,
        batch_size=settings.batch_size,
        questions_per_image=settings.questions_per_image,
        balance=settings.balance,
        seed=settings.seed,
    )
    return ceil(draw.experiment.steps * settings.accumulate / len(batches))


def _majority(bench: Bench, draw: Draw) -> Made:
    made = predict_majority(_asked(draw, draw.train), draw.test, draw.questionnaire)
    return Made({line.id: line.parsed for line in made}, 0.0)


def _words(bench: Bench, draw: Draw) -> Made:
    from sklearn.linear_model import LogisticRegression

    train = _asked(draw, draw.train)
    began = perf_counter()
    bags = _bags(draw)
    model = LogisticRegression(max_iter=500).fit([bags[s.id] for s in train], [str(s.answer) for s in train])
    guesses = model.predict([bags[sample.id] for sample in draw.test])
    answers = {sample.id: str(guess) for sample, guess in zip(draw.test, guesses, strict=True)}
    return Made(dict(answers), perf_counter() - began)


def _probe(kind: str, method: Probe) -> Callable[[Bench, Draw], Made]:
    """A floor on frozen features. Where questions differ their words join; lengths are learned in image widths."""

    def make(bench: Bench, draw: Draw) -> Made:
        train = _asked(draw, draw.train)
        everything = [*train, *draw.test]
        seen, seconds = _frozen(bench, draw, kind)
        began = perf_counter()
        if draw.experiment.speaks:
            center, bags = np.mean([seen[s.image] for s in train], axis=0), _bags(draw)
            features = {s.id: np.hstack([_unit(seen[s.image] - center), _unit(bags[s.id])]) for s in everything}
        else:
            features = {s.id: seen[s.image] for s in everything}
        widths = _widths(everything)
        learned = [_in_widths(s, widths).model_copy(update={"image": s.id}) for s in train]
        asked = [s.model_copy(update={"image": s.id}) for s in draw.test]
        lines = {p.id: p.parsed for p in predict_floor(learned, asked, features, method, draw.questionnaire)}
        answers = {s.id: _in_mm(s, lines[s.id], widths) for s in draw.test}
        return Made(answers, seconds + perf_counter() - began)

    return make


def _tune_lite(start: Callable[[Bench], Path | None]) -> Callable[[Bench, Draw], Made]:
    def make(bench: Bench, draw: Draw) -> Made:
        train, weights = _asked(draw, draw.train), start(bench)
        widths = _widths([*train, *draw.test])
        names = sorted({str(sample.answer) for sample in train})
        lesson, asked = (_lesson(bench, draw, part, names, widths) for part in (train, draw.test))
        course = Course(2) if bench.quick else Course(draw.experiment.lite_steps)
        began = perf_counter()
        network = start_lite(1 if lesson.is_number else len(names), lesson.extra_NE.shape[1], draw.number, weights)
        fit_lite(network, lesson, course, seed=draw.number)
        seconds = perf_counter() - began
        made = ask_lite(network, lesson, asked)
        answers: dict[str, Answer | None] = {}
        for sample, value in zip(draw.test, made, strict=True):
            answer = Quantity(value=float(value), unit="mm") if lesson.is_number else names[int(value)]
            answers[sample.id] = _in_mm(sample, answer, widths)
        return Made(answers, seconds)

    return make


_MAKERS: dict[str, Callable[[Bench, Draw], Made]] = {
    "majority": _majority,
    "words": _words,
    "probe": _probe("nano", "probe"),
    "knn": _probe("nano", "knn"),
    "lite-probe": _probe("lite", "probe"),
    "lite-tuned": _tune_lite(lambda bench: None),
    "lite-phantoms": _tune_lite(lambda bench: bench.phantom_weights),
}


def _lesson(
    bench: Bench, draw: Draw, samples: Sequence[Sample], names: Sequence[str], widths: Mapping[str, int]
) -> Lesson:
    number = draw.experiment.question == "hc"
    for sample in samples:
        if (sample.image, number) not in bench.pictures:
            bench.pictures[sample.image, number] = read_grey(sample.image, keep_shape=number)
    if number:
        answers = [_in_widths(sample, widths).answer for sample in samples]
        targets = np.array([answer.value if isinstance(answer, Quantity) else np.nan for answer in answers])
    else:
        targets = np.array([names.index(str(s.answer)) if str(s.answer) in names else 0 for s in samples])
    bags = _bags(draw) if draw.experiment.speaks else {}
    extra = [_unit(bags[sample.id]) if bags else np.zeros(0) for sample in samples]
    grey = np.stack([bench.pictures[sample.image, number] for sample in samples])
    return Lesson(grey, targets, np.stack(extra))


@torch.inference_mode()
def _frozen(bench: Bench, draw: Draw, kind: str) -> tuple[dict[str, np.ndarray], float]:
    """Return each image's frozen features (mean; for numbers the whole map, flat), and the training images' seconds."""
    pooled = draw.experiment.question != "hc"
    for sample in (*draw.train, *draw.test):
        if (kind, sample.image) in bench.features:
            continue
        began = perf_counter()
        if kind == "lite":
            seen = see_lite(bench.lite, sample.image, pooled)
        else:
            family, loaded = bench.nano.family, bench.nano.loaded
            batch = family.encode(loaded, [sample], with_answers=False).to(loaded.device)
            regions_ND = family.see(loaded, batch.pixels_MCHW)[0]
            seen = (regions_ND.mean(0) if pooled else regions_ND.flatten()).float().cpu().numpy()
        bench.features[kind, sample.image] = seen, perf_counter() - began
    seconds = sum(bench.features[kind, image][1] for image in {sample.image for sample in draw.train})
    return {image: seen for (k, image), (seen, _) in bench.features.items() if k == kind}, seconds


def _bags(draw: Draw) -> dict[str, np.ndarray]:
    """Return which of the training prompts' words each prompt holds, by sample id."""
    from sklearn.feature_extraction.text import CountVectorizer

    bag = CountVectorizer(binary=True).fit([sample.prefix for sample in draw.train])
    samples = (*draw.train, *draw.test)
    rows = bag.transform([sample.prefix for sample in samples]).toarray().astype(np.float64)
    return {sample.id: row for sample, row in zip(samples, rows, strict=True)}


def _asked(draw: Draw, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.question == draw.experiment.question]


def _widths(samples: Sequence[Sample]) -> dict[str, int]:
    widths = {}
    for image in {sample.image for sample in samples if sample.spacing_mm}:
        with Image.open(image) as file:
            widths[image] = file.size[0]
    return widths


def _in_widths(sample: Sample, widths: Mapping[str, int]) -> Sample:
    """Return the sample with its length in mm in shares of the image's width; others as they are."""
    if not (isinstance(sample.answer, Quantity) and sample.spacing_mm):
        return sample
    share = sample.answer.value / (sample.spacing_mm[1] * widths[sample.image])
    return sample.model_copy(update={"answer": Quantity(value=share, unit=sample.answer.unit)})


def _in_mm(sample: Sample, answer: Answer | None, widths: Mapping[str, int]) -> Answer | None:
    if not (isinstance(answer, Quantity) and sample.spacing_mm):
        return answer
    return Quantity(value=answer.value * sample.spacing_mm[1] * widths[sample.image], unit=answer.unit)


def _unit(values_D: np.ndarray) -> np.ndarray:
    return values_D / max(float(np.linalg.norm(values_D)), 1e-12)
