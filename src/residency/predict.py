"""Answer samples: a model and samples in, predictions out, streamed to JSON lines that a stopped run goes on with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from residency.config import Predict
from residency.data.normalize import parse_answer
from residency.errors import UserError
from residency.files import read_lines, sha256_text
from residency.models.family import Answered, Batch, Images, render_prompt
from residency.models.registry import Opened
from residency.progress import track
from residency.questionnaire import render_answer
from residency.types import (
    Answer,
    Mode,
    Prediction,
    Quantity,
    Question,
    Questionnaire,
    Sample,
    SplitName,
)

PredictionSource = Callable[[Sequence[Sample]], Iterable[Prediction]]
MOST_CANDIDATES = 64
MEAN_SIDE = 256


@dataclass(frozen=True)
class Candidates:
    """The wordings offered for one question and the canonical answer that each stands for, both in one order."""

    texts: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Asked:
    """How a pass over samples is labelled in its predictions."""

    model: str
    mode: Mode
    split: SplitName | Literal["all"]
    fold: int = 0


def offer_candidates(question: Question, training: Sequence[Sample]) -> Candidates | None:
    """Return what a question's answer is chosen from: its vocabulary, and the wordings of the training split.

    Numbers are left out of the wordings, for no list of numbers is complete; sets and texts offer the training
    split's commonest answers, at most `MOST_CANDIDATES`. None for a number.
    """
    if question.type == "number":
        return None
    answered = [sample for sample in training if sample.question == question.id and sample.answer is not None]
    seen = Counter((render_answer(question, s.answer, _unnumbered(s.parts)), s.answer) for s in answered if s.answer)
    offered = dict(seen.most_common(MOST_CANDIDATES))
    if question.type != "set":
        offered = {(name, name): 0 for name in question.names} | offered
    if len(offered) < 2:
        return None
    texts, answers = zip(*offered, strict=True)
    return Candidates(texts, answers)


def is_chosen(question: Question, mode: Mode) -> bool:
    """Tell whether an answer is chosen by likelihood over candidates or generated.

    A tuned model generates sets, texts, and answers that may hold a number. The base model, which was never taught
    the wording, chooses wherever candidates exist.
    """
    if mode == "base":
        return question.type != "number"
    return question.type in ("choice", "ordinal") and not any(part.type == "number" for part in question.parts)


@torch.inference_mode()
def answer_samples(
    opened: Opened,
    samples: Sequence[Sample],
    questionnaire: Questionnaire | None,
    candidates: Mapping[str, Candidates],
    asked: Asked,
    settings: Predict,
    images: Images | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each sample, image by image; the tower sees an image once for all its questions.

    `images` replaces files, by `Sample.image`.
    """
    family, loaded = opened.family, opened.loaded
    questions = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    loaded.model.eval()
    for together in slice_images(samples, settings.batch_images):
        began = perf_counter()
        batch = family.encode(loaded, together, with_answers=False, images=images).to(loaded.device)
        regions_MND = family.see(loaded, batch.pixels_MCHW)
        asks = [questions.get(sample.question or "") for sample in together]
        offers = [
            candidates.get(question.id) if question and is_chosen(question, asked.mode) else None for question in asks
        ]
        made = _answer_rows(opened, batch, regions_MND, asks, offers, settings.max_new_tokens)
        seconds = (perf_counter() - began) / len(together)
        for row, sample in enumerate(together):
            yield Prediction(
                id=sample.id,
                model=asked.model,
                mode=asked.mode,
                split=asked.split,
                fold=asked.fold,
                prompt_sha256=sha256_text(render_prompt(loaded.spec.prompt, sample)),
                seconds=round(seconds, 5),
                **made[row],
            )


def write_predictions(path: Path, samples: Sequence[Sample], make: PredictionSource, what: str) -> int:
    """Stream predictions to `path`; a stopped pass goes on after its last whole line. Returns how many were made.

    While it runs the file is called `path.part`; the name `path` means that it is whole.
    """
    if path.is_file() and {line.id for line in read_lines(path, Prediction)} >= {sample.id for sample in samples}:
        return 0
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    if part.is_file():
        whole = part.read_bytes().rpartition(b"\n")[0]
        part.write_bytes(whole + b"\n" if whole else b"")
        done = {line.id for line in read_lines(part, Prediction)}
    waiting = [sample for sample in samples if sample.id not in done]
    try:
        with part.open("ab", buffering=0) as file:
            for prediction in track(make(waiting), what, total=len(waiting)):
                file.write(prediction.line().encode() + b"\n")
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{part} cannot be written",
            found=error.strerror,
            do="free some space; the same command goes on where it stopped",
            exit_code=1,
        ) from error
    return len(waiting)


def write_mean_image(training: Sequence[Sample], path: Path) -> Image.Image:
    """Write and return the mean of the training images, squeezed to one square: what the blind run sees."""
    total = np.zeros((MEAN_SIDE, MEAN_SIDE, 3))
    images = sorted({sample.image for sample in training})
    for image in images:
        with Image.open(image) as file:
            total += np.asarray(file.convert("RGB").resize((MEAN_SIDE, MEAN_SIDE)))
    mean_image = Image.fromarray((total / len(images)).round().astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    mean_image.save(path)
    return mean_image


def blind_images(samples: Sequence[Sample], mean_image: Image.Image) -> Images:
    """Return the mean image in the place of every sample's own; what the prompt states of the own one stays."""
    return dict.fromkeys((sample.image for sample in samples), mean_image)


def shuffle_images(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Return the samples, every image replaced by one of another group; one image's questions stay together.

    Raises:
        UserError: all samples are of one group.
    """
    rng = np.random.default_rng(seed)
    group_of = {sample.image: sample.group for sample in samples}
    images = sorted(group_of)
    instead = {}
    for image in images:
        others = [other for other in images if group_of[other] != group_of[image]]
        if not others:
            raise UserError("images of one group cannot be shuffled between groups", do="leave `shuffled` out")
        instead[image] = others[int(rng.integers(len(others)))]
    return [sample.model_copy(update={"image": instead[sample.image]}) for sample in samples]


def mute_samples(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Return the samples, every prompt replaced by another one that stands among them.

    Raises:
        UserError: all samples ask the same.
    """
    rng = np.random.default_rng(seed)
    prefixes = sorted({sample.prefix for sample in samples})
    if len(prefixes) < 2:
        raise UserError("there is one prompt only, so none to replace it by", do="leave `mute` out")
    swapped = []
    for sample in samples:
        others = [prefix for prefix in prefixes if prefix != sample.prefix]
        swapped.append(sample.model_copy(update={"prefix": others[int(rng.integers(len(others)))]}))
    return swapped


def slice_images(samples: Sequence[Sample], images: int) -> Iterator[list[Sample]]:
    """Yield the samples of `images` images at a time."""
    ordered = sorted(samples, key=lambda sample: sample.image)
    runs = [list(run) for _, run in groupby(ordered, key=lambda sample: sample.image)]
    for first in range(0, len(runs), images):
        yield [sample for run in runs[first : first + images] for sample in run]


def _answer_rows(
    opened: Opened,
    batch: Batch,
    regions_MND: torch.Tensor,
    asks: Sequence[Question | None],
    offers: Sequence[Candidates | None],
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Answer all rows of a batch: those with candidates are scored together, the others generated together."""
    family, loaded = opened.family, opened.loaded
    made: dict[int, dict[str, Any]] = {}
    if closed := [row for row, offer in enumerate(offers) if offer]:
        texts = [offer.texts for offer in offers if offer]
        scores = family.score(loaded, batch.take(closed), regions_MND, texts)
        for row, scores_K in zip(closed, scores, strict=True):
            question, offer = asks[row], offers[row]
            assert question and offer
            made[row] = _choose(scores_K.cpu(), question, offer)
    if free := [row for row, offer in enumerate(offers) if not offer]:
        generated = family.generate(loaded, batch.take(free), regions_MND, max_new_tokens=max_new_tokens)
        made |= {row: _generated(asks[row], answer) for row, answer in zip(free, generated, strict=True)}
    return [made[row] for row in range(len(asks))]


def _choose(scores_K: torch.Tensor, question: Question, offered: Candidates) -> dict[str, Any]:
    """Choose the canonical answer whose wordings are likeliest together, said in its likeliest wording."""
    different = list(dict.fromkeys(offered.answers))
    pooled = [scores_K[[a == answer for a in offered.answers]].logsumexp(0) for answer in different]
    best = different[int(torch.stack(pooled).argmax())]
    wordings = [k for k, answer in enumerate(offered.answers) if answer == best]
    text = offered.texts[max(wordings, key=lambda k: float(scores_K[k]))]
    names = [answer if isinstance(answer, str) else ", ".join(map(str, answer)) for answer in different]
    return {
        "prediction": text,
        "parsed": best,
        "parts": parse_answer(question, text).parts,
        "candidates": {name: round(float(score), 4) for name, score in zip(names, pooled, strict=True)},
        "confidence": float(torch.stack(pooled).softmax(0).max()),
    }


def _generated(question: Question | None, answered: Answered) -> dict[str, Any]:
    """Parse a generated answer; without a question the text itself is the answer."""
    if question is None:
        return {"prediction": answered.text, "parsed": answered.text or None, "confidence": answered.likelihood}
    parsed = parse_answer(question, answered.text)
    return {
        "prediction": answered.text,
        "parsed": parsed.answer,
        "parts": parsed.parts,
        "confidence": answered.likelihood,
    }


def _unnumbered(parts: Mapping[str, Answer]) -> dict[str, Answer]:
    return {id: value for id, value in parts.items() if not isinstance(value, Quantity)}


def candidates_of(questionnaire: Questionnaire | None, training: Sequence[Sample]) -> dict[str, Candidates]:
    """Return every question's candidates, by question id."""
    questions: Sequence[Question] = questionnaire.questions if questionnaire else ()
    offered = {question.id: offer_candidates(question, training) for question in questions}
    return {id: candidates for id, candidates in offered.items() if candidates}
