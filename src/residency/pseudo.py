"""A tuned model and images without answers in, the answers that it gives with confidence and alike on every view out.

Pseudo-labels as in FixMatch (Sohn 2020, arXiv 2001.07685: kept above a confidence) and Noisy Student (Xie 2020,
arXiv 1911.04252: balanced over classes), made from several views. Closed questions only: those whose answer is chosen
by likelihood over candidates.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image
from pydantic import Field

from residency.config import Augmentation, Recipe, SelfTraining
from residency.errors import UserError
from residency.files import read_lines
from residency.material import Material
from residency.models.prompts import render_prompt
from residency.models.registry import Opened
from residency.predict import Asked, answer_samples, candidates_of, is_chosen, slice_images, write_predictions
from residency.types import Answer, Prediction, Question, Record, Sample
from residency.ultrasound.augment import TRANSFORMS, augment_study, vary_grey

STANDARD = 0.5
"""A question that at least this share of the training images answers is asked of an image without answers."""

KEPT = {"sides", "spacing", "quality"}
"""What a transform of ultrasound must keep, so that a view's answer is an answer about the image itself."""


class PseudoAnswer(Record):
    """A line of pseudo.jsonl: a model's answer to train on, its mean confidence, and how many views agreed on it."""

    image: str
    question: str
    answer: Answer
    text: str
    parts: dict[str, Answer] = Field(default_factory=dict)
    confidence: float
    agreement: int


def ask_images(images: Sequence[Sample], material: Material, prompt: str) -> list[Sample]:
    """Return the closed standard questions to put to bare samples, one sample each, without an answer.

    A question is standard where `STANDARD` of the training images (of the image's category, if it has one) answer it;
    nothing is asked of an image whose category no training image has, nor where the recipe's prompt cannot be filled.
    """
    seen: defaultdict[str | None, set[str]] = defaultdict(set)
    answered: defaultdict[tuple[str, str | None], set[str]] = defaultdict(set)
    prefixes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in material.train:
        id = sample.question or ""
        prefixes[id][sample.prefix] += 1
        for category in {sample.category, None}:
            seen[category].add(sample.image)
            answered[id, category].add(sample.image)
    closed = [question.id for question in closed_questions(material)]
    asked = [
        bare.model_copy(
            update={"id": f"{bare.image}:{id}", "prefix": prefixes[id].most_common(1)[0][0], "question": id}
        )
        for bare in images
        for id in closed
        if seen[bare.category] and len(answered[id, bare.category]) >= STANDARD * len(seen[bare.category])
    ]
    return [sample for sample in asked if _can_fill(prompt, sample)]


def closed_questions(material: Material) -> list[Question]:
    """Return the questions whose answers a tuned model chooses among candidates."""
    offered = candidates_of(material.questionnaire, material.train)
    questions = material.questionnaire.questions if material.questionnaire else ()
    asked = {sample.question for sample in material.train}
    return [
        question
        for question in questions
        if question.id in asked and question.id in offered and is_chosen(question, "own")
    ]


def answer_views(
    opened: Opened, asked: Sequence[Sample], material: Material, recipe: Recipe, views: int, path: Path
) -> dict[tuple[str, int], Prediction]:
    """Answer every sample on each view of its image, streamed to `path` (a stopped pass goes on); by id and view.

    View 0 is the image itself, the others are augmented: where the recipe augments as ultrasound varies, without what
    would change an answer, else in brightness alone.
    """
    labelled = {
        f"{sample.id}@{view}": (sample.id, view, sample.model_copy(update={"id": f"{sample.id}@{view}"}))
        for view in range(views)
        for sample in asked
    }
    view_of = {id: view for id, (_, view, _) in labelled.items()}
    answer = partial(_answer_by_view, opened, material, recipe, view_of)
    write_predictions(path, [sample for _, _, sample in labelled.values()], answer, "images without answers")
    return {labelled[line.id][:2]: line for line in read_lines(path, Prediction) if line.id in labelled}


def draw_view(
    image: Image.Image, samples: Sequence[Sample], augmentation: Augmentation, rng: np.random.Generator
) -> Image.Image:
    """Return a picture as another machine would show it, all that is asked of it with the same answers."""
    if augmentation != "ultrasound":
        return vary_grey(image, rng)
    drawn = [transform.name for transform in TRANSFORMS if {*transform.keeps} >= KEPT and rng.random() < transform.odds]
    return augment_study(image, samples, rng, only=drawn)[0]


def select_answers(
    asked: Sequence[Sample],
    given: Mapping[tuple[str, int], Prediction],
    training: Sequence[Sample],
    settings: SelfTraining,
) -> list[PseudoAnswer]:
    """Return the answers on which all views agree with enough mean confidence, no class more often than its share.

    With n such answers to a question that has k different answers in training, a class keeps its n / k likeliest, and
    no more than there are of all others: where one answer alone is given, it teaches nothing but to give it always.
    """
    kept: defaultdict[str, list[PseudoAnswer]] = defaultdict(list)
    for sample in asked:
        views = [given[sample.id, view] for view in range(settings.agreement)]
        best = max(views, key=lambda view: view.confidence or 0.0)
        confidence = fmean(view.confidence or 0.0 for view in views)
        if best.parsed is None or {view.parsed for view in views} != {best.parsed} or confidence < settings.confidence:
            continue
        kept[sample.question or ""].append(
            PseudoAnswer(
                image=sample.image,
                question=sample.question or "",
                answer=best.parsed,
                text=best.prediction,
                parts=best.parts,
                confidence=round(confidence, 4),
                agreement=len(views),
            )
        )
    classes = {id: {s.answer for s in training if s.question == id} for id in kept}
    return [answer for id, answers in kept.items() for answer in _balance_classes(answers, len(classes[id]))]


def pseudo_samples(answers: Sequence[PseudoAnswer], asked: Sequence[Sample]) -> list[Sample]:
    """Return the asked samples that got an answer, with it."""
    by_id = {sample.id: sample for sample in asked}
    return [
        by_id[f"{answer.image}:{answer.question}"].model_copy(
            update={"suffix": answer.text, "answer": answer.answer, "parts": answer.parts}
        )
        for answer in answers
    ]


def _can_fill(prompt: str, sample: Sample) -> bool:
    try:
        render_prompt(prompt, sample)
    except UserError:
        return False
    return True


def _balance_classes(answers: Sequence[PseudoAnswer], classes: int) -> list[PseudoAnswer]:
    counts = Counter(answer.answer for answer in answers)
    share = -(-len(answers) // max(classes, 1))
    quota = {name: min(share, len(answers) - count) for name, count in counts.items()}
    taken: Counter[Answer] = Counter()
    kept = []
    for answer in sorted(answers, key=lambda answer: (-answer.confidence, answer.image)):
        taken[answer.answer] += 1
        kept += [answer] if taken[answer.answer] <= quota[answer.answer] else []
    return kept


def _answer_by_view(
    opened: Opened, material: Material, recipe: Recipe, view_of: Mapping[str, int], waiting: Sequence[Sample]
) -> Iterator[Prediction]:
    candidates = candidates_of(material.questionnaire, material.train)
    label = Asked(recipe.name, "own", "train", recipe.fold if isinstance(recipe.fold, int) else 0)
    settings = recipe.predict
    for view in sorted(set(view_of.values())):
        mine = [sample for sample in waiting if view_of[sample.id] == view]
        for together in slice_images(mine, settings.batch_images):
            images = _draw_views(together, view, recipe) if view else None
            yield from answer_samples(
                opened, together, material.questionnaire, candidates, label, settings, images=images
            )


def _draw_views(samples: Sequence[Sample], view: int, recipe: Recipe) -> dict[str, Image.Image]:
    pictures = {}
    for image in sorted({sample.image for sample in samples}):
        rng = np.random.default_rng([recipe.train.seed, view, zlib.crc32(Path(image).name.encode())])
        with Image.open(image) as file:
            about = [sample for sample in samples if sample.image == image]
            pictures[image] = draw_view(file, about, recipe.train.augment, rng)
    return pictures
