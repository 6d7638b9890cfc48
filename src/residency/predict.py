"""Answer samples: a model and samples in, predictions out, streamed to JSON lines that a stopped run goes on with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from PIL import Image

from residency.answering import Candidates, Query, answer_together
from residency.asking import Ask, Predict
from residency.errors import UserError
from residency.files import read_lines, sha256_text, write_lines
from residency.models.family import Images
from residency.models.prompts import word_whole
from residency.models.registry import Opened
from residency.progress import track
from residency.questionnaire import ABSTENTION, is_abstention, render_answer
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
from residency.views import answer_rows

PredictionSource = Callable[[Sequence[Sample]], Iterable[Prediction]]
MOST_CANDIDATES = 64
MEAN_SIDE = 256


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
    if any(sample.question == question.id and is_abstention(sample.suffix or "") for sample in training):
        offered[ABSTENTION, ABSTENTION] = 0  # what the training answers may say, the model may choose
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


def make_query(sample: Sample, question: Question | None, candidates: Mapping[str, Candidates], mode: Mode) -> Query:
    """Return a sample with its question and, where its answer is chosen, the candidates for it (by question id)."""
    return Query(sample, question, candidates.get(question.id) if question and is_chosen(question, mode) else None)


@torch.inference_mode()
def answer_samples(
    opened: Opened,
    samples: Sequence[Sample],
    questionnaire: Questionnaire | None,
    candidates: Mapping[str, Candidates],
    asked: Asked,
    settings: Predict,
    images: Images | None = None,
    ask: Ask = "each",
) -> Iterator[Prediction]:
    """Yield a prediction for each sample, image by image; the tower sees an image once for all its questions.

    `images` replaces files, by `Sample.image`. The base model, which was never taught to answer `together`, is asked
    each question alone.
    """
    questions = {question.id: question for question in questionnaire.questions} if questionnaire else {}
    opened.loaded.model.eval()
    for rows in slice_images(samples, settings.batch_images):
        began = perf_counter()
        if ask == "together" and asked.mode != "base":
            made = answer_together(opened, rows, questionnaire, settings, images)
        else:
            queries = [make_query(one, questions.get(one.question or ""), candidates, asked.mode) for one in rows]
            made = answer_rows(opened, queries, settings, images)
        seconds = (perf_counter() - began) / len(rows)
        for sample, said in zip(rows, made, strict=True):
            yield Prediction(
                id=sample.id,
                model=asked.model,
                mode=asked.mode,
                split=asked.split,
                fold=asked.fold,
                prompt_sha256=sha256_text(word_whole(opened.loaded.spec, said.asked)),
                seconds=round(seconds, 5),
                neighbours=sample.context.neighbours if sample.context else (),
                **said.fields,
            )


def write_predictions(
    path: Path, samples: Sequence[Sample], make: PredictionSource, what: str, ask: Ask = "each"
) -> int:
    """Stream predictions to `path`; a stopped pass goes on after its last whole line (asked together: image). Returns
    how many were made.

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
        lines = list(read_lines(part, Prediction))
        done = {line.id for line in lines}
        if ask == "together":
            halves = {sample.image for sample in samples if sample.id not in done}
            done -= {sample.id for sample in samples if sample.image in halves}
            write_lines(part, [line for line in lines if line.id in done])
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
    asked = {sample.prefix: sample for sample in samples}
    prefixes = sorted(asked)
    if len(prefixes) < 2:
        raise UserError("there is one prompt only, so none to replace it by", do="leave `mute` out")
    swapped = []
    for sample in samples:
        others = [prefix for prefix in prefixes if prefix != sample.prefix]
        prefix = others[int(rng.integers(len(others)))]
        swapped.append(sample.model_copy(update={"prefix": prefix, "shots": asked[prefix].shots}))
    return swapped


def slice_images(samples: Sequence[Sample], images: int) -> Iterator[list[Sample]]:
    """Yield the samples of `images` images at a time."""
    ordered = sorted(samples, key=lambda sample: sample.image)
    runs = [list(run) for _, run in groupby(ordered, key=lambda sample: sample.image)]
    for first in range(0, len(runs), images):
        yield [sample for run in runs[first : first + images] for sample in run]


def _unnumbered(parts: Mapping[str, Answer]) -> dict[str, Answer]:
    return {id: value for id, value in parts.items() if not isinstance(value, Quantity)}


def candidates_of(questionnaire: Questionnaire | None, training: Sequence[Sample]) -> dict[str, Candidates]:
    """Return every question's candidates, by question id."""
    questions: Sequence[Question] = questionnaire.questions if questionnaire else ()
    offered = {question.id: offer_candidates(question, training) for question in questions}
    return {id: candidates for id, candidates in offered.items() if candidates}
