"""Simulated studies as training material: phantom folders in, pixels, scenes and canonical names out."""

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


@dataclass(frozen=True)
class Scene:
    """What is known about one image: answers by wording, outlines in shares of its sides, size, measures.

    `sized` holds the answers that say more where the picture's size is stated: the age always tells its weeks.
    `field_mm` is the picture's width and height; `measures` are in mm but for angles, in degrees.
    """

    truth: Mapping[str, Any]
    answers: Mapping[str, str]
    sized: Mapping[str, str]
    closed: tuple[str, ...]
    outlines: tuple[tuple[str, np.ndarray], ...]
    field_mm: tuple[float, float]
    measures: Mapping[str, float]

    @property
    def points(self) -> np.ndarray:
        """Every outline's points together, (P, 2)."""
        return np.concatenate([np.zeros((0, 2)), *(points_P2 for _, points_P2 in self.outlines)])


@dataclass(frozen=True)
class Studies:
    """N decoded images: pixels_NHW (uint8), scenes, canonical names as multi-hot rows, structures, and patients."""

    pixels_NHW: np.ndarray
    scenes: tuple[Scene, ...]
    names_NK: np.ndarray
    vocabulary: tuple[str, ...]
    structures: tuple[str, ...]
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
    scenes = []
    for row, (folder, truth) in enumerate(track(found, "reading studies")):
        with Image.open(folder / truth["image"]) as file:
            scenes.append(read_scene(truth, questionnaire, *file.size))
            pixels_NHW[row] = np.asarray(file.convert("L").resize((side, side), Image.Resampling.BICUBIC))
    names = [set(_names_of(truth)) for _, truth in found]
    vocabulary = tuple(sorted(set().union(*names)))
    names_NK = np.array([[name in held for name in vocabulary] for held in names], dtype=np.float32)
    structures = tuple(sorted({label for scene in scenes for label, _ in scene.outlines}))
    patients = tuple(f"{folder}:{truth['patient']}" for folder, truth in found)
    return Studies(pixels_NHW, tuple(scenes), names_NK, vocabulary, structures, patients)


def read_scene(truth: Mapping[str, Any], questionnaire: Questionnaire, width: int, height: int) -> Scene:
    """Return what a line of truth.jsonl says about an image of this size in pixels."""
    asked = [question for question in questionnaire.questions if question.id in truth["answers"]]
    answers = {question.wording: _answer_text(truth, question, truth["parts"]) for question in asked}
    dated = truth["parts"] | {"q5.weeks": {"value": truth["weeks"], "unit": "weeks"}}
    sized = {question.wording: _answer_text(truth, question, dated) for question in asked if question.id == "q5"}
    outlines = tuple(
        (outline["label"], np.array(outline["points"], float) / [width, height]) for outline in truth["outlines"]
    )
    down_mm, across_mm = truth["spacing_mm"]
    closed = tuple(answers[question.wording] for question in asked if question.type == "choice")
    return Scene(truth, answers, sized, closed, outlines, (width * across_mm, height * down_mm), truth["measures"])


def _answer_text(truth: Mapping[str, Any], question: Question, known: Mapping[str, Any]) -> str:
    parts = {id: value for id, value in known.items() if id.startswith(f"{question.id}.")}
    held = {"answer": truth["answers"][question.id], "parts": parts}
    sample = Sample.model_validate({"id": "", "image": "", "prefix": "", "group": ""} | held)
    assert sample.answer is not None
    return render_answer(question, sample.answer, sample.parts)


def _names_of(truth: Mapping[str, Any]) -> Iterator[str]:
    """Yield the category and every canonical name among the answers and sub-answers, by question."""
    yield f"category={truth['category']}"
    for id, value in (truth["answers"] | truth["parts"]).items():
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str):
                yield f"{id}={name}"
