"""A draw in, what nano must beat out: constants, words, probes and neighbours on frozen towers, EfficientNet-Lite0."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image

from fewshot_bench import Bench, Made
from fewshot_data import Draw
from fewshot_lite import Course, Lesson, ask_lite, fit_lite, read_grey, see_lite, start_lite
from residency.evaluate.floors import Probe, predict_floor, predict_majority
from residency.types import Answer, Quantity, Sample


def _majority(bench: Bench, draw: Draw) -> Made:
    made = predict_majority(draw.asked, draw.test, draw.questionnaire)
    return Made({line.id: line.parsed for line in made}, 0.0)


def _words(bench: Bench, draw: Draw) -> Made:
    from sklearn.linear_model import LogisticRegression

    train = draw.asked
    began = perf_counter()
    bags = _bags(draw)
    model = LogisticRegression(max_iter=500).fit([bags[s.id] for s in train], [str(s.answer) for s in train])
    guesses = model.predict([bags[sample.id] for sample in draw.test])
    answers = {sample.id: str(guess) for sample, guess in zip(draw.test, guesses, strict=True)}
    return Made(dict(answers), perf_counter() - began)


def probe_frozen(kind: str, method: Probe) -> Callable[[Bench, Draw], Made]:
    """Return a floor on the frozen features of a kind, from the bench where it holds them.

    Where questions differ their words join; lengths are learned in image widths.
    """

    def make(bench: Bench, draw: Draw) -> Made:
        train = draw.asked
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
        train, weights = draw.asked, start(bench)
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


RIVALS: dict[str, Callable[[Bench, Draw], Made]] = {
    "majority": _majority,
    "words": _words,
    "probe": probe_frozen("nano", "probe"),
    "knn": probe_frozen("nano", "knn"),
    "lite-probe": probe_frozen("lite", "probe"),
    "lite-tuned": _tune_lite(lambda bench: None),
    "lite-phantoms": _tune_lite(lambda bench: bench.phantom_weights),
}


def _lesson(
    bench: Bench, draw: Draw, samples: Sequence[Sample], names: Sequence[str], widths: Mapping[str, int]
) -> Lesson:
    number = draw.experiment.measures
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
    pooled = not draw.experiment.measures
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
