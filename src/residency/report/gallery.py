"""How samples were answered in; a few right and wrong answers with small pictures out, drawn by seed, not by hand."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from residency.data.dataset import Dataset
from residency.evaluate.records import Mark, QuestionShown
from residency.report.drawn import draw_places
from residency.types import Sample

PLACED_SIDE = 400
"""Pixels of a picture on which places are drawn."""
SIDE, QUALITY, MOST, LONGEST_SAID = 160, 72, 24, 120


@dataclass(frozen=True)
class Card:
    """One answer as shown; `picture` is a JPEG data URI (None: the image could not be read), with places drawn on it if
    `placed`."""

    question: str
    category: str
    verdict: str
    truth: str
    answer: str
    picture: str | None
    image: str
    placed: bool = False


def pick_cards(
    marks: Sequence[Mark], questions: Sequence[QuestionShown], dataset: Dataset | None, seed: int = 0
) -> list[Card]:
    """Return up to 24 cards: for each question as many right as wrong answers where there are both."""
    rng = np.random.default_rng(seed)
    samples = {sample.id: sample for sample in dataset.samples} if dataset else {}
    asked = [question for question in questions if not question.is_part]
    each = max(1, MOST // (2 * max(1, len(asked))))
    cards = []
    for question in asked:
        own = [mark for mark in marks if mark.of == "own" and mark.question == question.id]
        right = [mark for mark in own if _is_right(mark, question)]
        wrong = [mark for mark in own if not _is_right(mark, question)]
        for pool in (wrong, right):
            for at in rng.permutation(len(pool))[:each]:
                mark = pool[int(at)]
                cards.append(_make_card(mark, question, dataset, samples.get(mark.id)))
    return cards[:MOST]


def draw_thumbnail(dataset: Dataset, sample: Sample, mark: Mark) -> str | None:
    """Return a sample's image as a JPEG data URI of at most 160 px a side (None: it cannot be read).

    Where places are asked for, of at most 400 px, with the true ones and those that were told.
    """
    placed = bool(sample.boxes or sample.outlines)
    side = PLACED_SIDE if placed else SIDE
    try:
        with Image.open(dataset.folder / sample.image) as file:
            width = file.width
            file.draft("RGB", (side, side))
            picture = (file if placed else ImageOps.exif_transpose(file)).convert("RGB")  # places count as it is stored
    except (OSError, Image.DecompressionBombError):
        return None
    picture.thumbnail((side, side))
    if placed:
        true, told = (sample.boxes, sample.outlines), (mark.boxes, mark.outlines)
        draw_places(picture, picture.width / width, true, told)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _is_right(mark: Mark, question: QuestionShown) -> bool:
    if mark.credit is not None:
        return mark.credit == 1
    return mark.error is not None and abs(mark.error) <= (question.median_error or 0.0)


def _make_card(mark: Mark, question: QuestionShown, dataset: Dataset | None, sample: Sample | None) -> Card:
    return Card(
        question=question.heading,
        category=mark.category or "",
        verdict=_verdict(mark, question),
        truth=mark.truth,
        answer=mark.answer or _unread(mark.said),
        picture=draw_thumbnail(dataset, sample, mark) if dataset and sample else None,
        image=sample.image if sample else "",
        placed=bool(sample and (sample.boxes or sample.outlines)),
    )


def _unread(said: str) -> str:
    short = said if len(said) <= LONGEST_SAID else said[:LONGEST_SAID] + " …"
    return f"“{short}” (not an answer that can be read)" if said.strip() else "(no text)"


def _verdict(mark: Mark, question: QuestionShown) -> str:
    if mark.credit is None:
        return "unread" if mark.error is None else f"off by {abs(mark.error):.3g} {question.unit}"
    if mark.credit == 1:
        return "right"
    if mark.error is not None and mark.answer is not None:
        return f"off by {mark.error:.0f} {'rank' if mark.error == 1 else 'ranks'}"
    return f"partly right ({mark.credit:.2f})" if mark.credit > 0 else "wrong"
