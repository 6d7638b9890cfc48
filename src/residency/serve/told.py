"""What the server tells: records of an interpretation as the API's JSON, and places read from an answer's text."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from residency import NOT_FOR_DIAGNOSIS
from residency.data.told import boxes_of, outlines_of, read_told
from residency.questionnaire import render_value
from residency.serve.decoding import Origin
from residency.types import Answer, AnswerType, Box, Context, Outline, Record

WORDS = ((0.95, "very sure"), (0.8, "sure"), (0.6, "rather sure"), (0.4, "unsure"), (0.0, "guessing"))
"""The least confidence for each word."""


EXAMPLE: dict[str, Any] = {
    "case": "a5374ae36c306b1f",
    "created": "2026-11-22T08:42:22Z",
    "image_sha256": "9b77c4bfb39a283e58a6de63e4dbe932ef1670558964ad37241d30bb701413c5",
    "width": 256,
    "height": 199,
    "model": "nano",
    "questionnaire": "fetal8",
    "answers": [
        {
            "question": "q6", "wording": "Image Quality: ...", "type": "ordinal", "answer": "good image quality",
            "parts": {}, "text": "good image quality", "confidence": 0.97, "confidence_words": "very sure",
            "sure": True, "threshold": 0.8, "candidates": {"good image quality": 0.97, "medium image quality": 0.03},
            "neighbours": {"P017_3.png:q6": "good image quality"},
        }
    ],
    "seconds": 0.12,
}  # fmt: skip


class AnswerTold(Record):
    """An answer as the server tells it. `confidence` in [0, 1] at validation's temperature; `sure` is false below the
    run's threshold or where the text is no answer; `candidates` are shares, the likeliest first; px of the original.
    `neighbours`: the annotated cases that the prompt told of, by id, the likest first, each with its answer (a passage
    of a document has none)."""

    question: str
    wording: str
    type: AnswerType
    answer: Answer | None = None
    parts: dict[str, Answer] = Field(default_factory=dict)
    text: str
    confidence: float
    confidence_words: str
    sure: bool
    threshold: float | None = None
    candidates: dict[str, float] = Field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    outlines: tuple[Outline, ...] = ()
    neighbours: dict[str, str] = Field(default_factory=dict)


class Interpretation(Record):
    """A case: one uploaded picture with all the answers about it. `seconds` is the model's share, not the waiting."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})
    case: str
    created: datetime
    image_sha256: Annotated[str, Field(description="SHA-256 of the picture's PNG copy that is kept.")]
    width: int
    height: int
    spacing_mm: tuple[float, float] | None = None
    model: str
    questionnaire: str
    answers: tuple[AnswerTold, ...] = ()
    seconds: float = 0.0
    origin: Origin = Origin()
    note: str = NOT_FOR_DIAGNOSIS


def tell_words(confidence: float) -> str:
    """Return a confidence in words."""
    return next(word for least, word in WORDS if confidence >= least)


def name_neighbours(context: Context | None) -> dict[str, str]:
    """Return what a prompt told of: each case's id with its answer in words, a passage's place with none."""
    found = context.neighbours if context else ()
    return {one.id: "" if one.answer is None else render_value(one.answer) for one in found}


def read_places(text: str, size: tuple[int, int]) -> tuple[tuple[Box, ...], tuple[Outline, ...]]:
    """Return the boxes (two points a label) and outlines (three or more) told in location tokens, in pixels."""
    boxes: list[Box] = []
    outlines: list[Outline] = []
    for told in read_told(text):
        if len(told.points_P2) == 2:
            boxes += boxes_of(told, size)
        else:
            outlines += outlines_of(told, size)
    return tuple(boxes), tuple(outlines)
