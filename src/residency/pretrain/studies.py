"""Simulated studies as training material: phantom folders in, pixels, texts by prompt and canonical names out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residency.errors import UserError
from residency.progress import track
from residency.questionnaire import render_answer
from residency.types import Question, Questionnaire, Sample

CAPTION, DETAILED_CAPTION, DETECTION = "<CAPTION>", "<DETAILED_CAPTION>", "<OD>"
DRAWN = {CAPTION: 0.5, DETAILED_CAPTION: 0.25, DETECTION: 1.0}
"""How often a task is drawn; a question is drawn with weight 1."""


@dataclass(frozen=True)
class Studies:
    """N decoded images: pixels_NHW (uint8), texts by prompt, canonical names as multi-hot rows, and patients."""

    pixels_NHW: np.ndarray
    texts: tuple[Mapping[str, str], ...]
    names_NK: np.ndarray
    vocabulary: tuple[str, ...]
    patients: tuple[str, ...]


def read_studies(folders: Sequence[Path], questionnaire: Questionnaire, side: int) -> Studies:
    """Read phantom folders (`truth.jsonl` and images), every picture squeezed to `side` x `side` px.

    Raises:
        UserError: a folder has no truth.jsonl.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    for folder in folders:
        if not (folder / "truth.jsonl").is_file():
            raise UserError(f"{folder} holds no simulated studies", do=f"residency phantom {folder} --patients 4000")
        with (folder / "truth.jsonl").open(encoding="utf-8") as file:
            found += [(folder, json.loads(line)) for line in file]
    pixels_NHW = np.empty((len(found), side, side), np.uint8)
    texts = []
    for row, (folder, truth) in enumerate(track(found, "reading studies")):
        with Image.open(folder / truth["image"]) as file:
            texts.append(describe_study(truth, questionnaire, *file.size))
            pixels_NHW[row] = np.asarray(file.convert("L").resize((side, side), Image.Resampling.BICUBIC))
    names = [set(_names_of(truth, questionnaire)) for _, truth in found]
    vocabulary = tuple(sorted(set().union(*names)))
    names_NK = np.array([[name in held for name in vocabulary] for held in names], dtype=np.float32)
    patients = tuple(f"{folder}:{truth['patient']}" for folder, truth in found)
    return Studies(pixels_NHW, tuple(texts), names_NK, vocabulary, patients)


def describe_study(truth: Mapping[str, Any], questionnaire: Questionnaire, width: int, height: int) -> dict[str, str]:
    """Return what is learned about an image, by prompt: each question's answer, two captions, boxes in locations."""
    texts = {question.wording: _answer_text(truth, question) for question in _answered(truth, questionnaire)}
    brief = [_answer_text(truth, question) for question in _answered(truth, questionnaire) if question.type == "choice"]
    boxes = [box["label"] + _locations(box["xyxy"], width, height) for box in truth["boxes"]]
    tasks = {CAPTION: ", ".join(brief), DETAILED_CAPTION: ". ".join(texts.values()), DETECTION: "".join(boxes)}
    return texts | {prompt: text for prompt, text in tasks.items() if text}


def _answered(truth: Mapping[str, Any], questionnaire: Questionnaire) -> Iterator[Question]:
    return (question for question in questionnaire.questions if question.id in truth["answers"])


def _answer_text(truth: Mapping[str, Any], question: Question) -> str:
    parts = {id: value for id, value in truth["parts"].items() if id.startswith(f"{question.id}.")}
    held = {"answer": truth["answers"][question.id], "parts": parts}
    sample = Sample.model_validate({"id": "", "image": "", "prefix": "", "group": ""} | held)
    assert sample.answer is not None
    return render_answer(question, sample.answer, sample.parts)


def _names_of(truth: Mapping[str, Any], questionnaire: Questionnaire) -> Iterator[str]:
    """Yield the category and every canonical name among the answers and sub-answers, by question."""
    yield f"category={truth['category']}"
    for id, value in (truth["answers"] | truth["parts"]).items():
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str):
                yield f"{id}={name}"


def _locations(xyxy: Sequence[float], width: int, height: int) -> str:
    """Return a box as Florence-2's location tokens: 0 to 999 of the image's sides."""
    sides = (width, height, width, height)
    bins = [min(999, max(0, int(value / side * 1000))) for value, side in zip(xyxy, sides, strict=True)]
    return "".join(f"<loc_{bin}>" for bin in bins)
