"""What nano knows about simulated studies it was not trained on: a model and studies in, figures out.

The model's own written answers are scored, greedily generated; `evaluate/` scores the tuned model.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from residency.data.normalize import parse_answer
from residency.evaluate.measure import tally_answers
from residency.models.family import Loaded
from residency.models.nano.family import Nano
from residency.pretrain.studies import Studies
from residency.pretrain.tasks import DETECTION, long_tasks, state_field
from residency.pretrain.vary import grey_levels, normalize, whole_view
from residency.progress import track
from residency.types import Answer, Quantity, Question, Questionnaire, Sample

FAMILY = Nano()
BATCH = 32
SECOND_TRIMESTER = (14.0, 28.0)
"""Weeks of gestation."""
NT_MEASURED, NOT_MEASURABLE = "NT thickness", "NT not measurable"
TOLD_BOX = re.compile(r"([^<]+)<loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)>")
Boxes = list[tuple[str, np.ndarray]]


def examine_studies(
    loaded: Loaded, studies: Studies, rows: np.ndarray, questionnaire: Questionnaire
) -> dict[str, float | None]:
    """Return each question's primary score, and the figures that the embedded model is held to; None: no such case.

    `NT standard` is the balanced accuracy of telling standard NT planes from others, by what can be measured there;
    `weeks error` the mean absolute error of the age in the second trimester, with the field stated, over the share
    `weeks told`; `boxes mAP50` the mean average precision at IoU 0.5 over structures.
    """
    loaded.model.eval()
    figures: dict[str, float | None] = {}
    for question in track(questionnaire.questions, "examining nano"):
        asked = [int(row) for row in rows if question.wording in studies.scenes[row].answers]
        answers = [_read_answer(question, text) for text in _answer(loaded, studies, asked, question.wording)]
        truths = [_truth_of(studies, row, question.id) for row in asked]
        tally = tally_answers(question, truths, answers)[0]
        figures[f"{question.id} {tally.metric.name}"] = _value(tally.value(tally.rows_ND.sum(0, keepdims=True)))
        if question.id == "q3":
            right = [truth == answer for truth, answer in zip(truths, answers, strict=True)]
            figures["plane accuracy"] = float(np.mean(right)) if right else None
        if question.id == "q4":
            figures["NT standard"] = _judge_standard(studies, asked, answers)
        if question.id == "q5":
            figures |= _judge_weeks(loaded, studies, asked, question)
    return figures | {"boxes mAP50": _judge_boxes(loaded, studies, rows)}


@torch.inference_mode()
def _answer(
    loaded: Loaded, studies: Studies, rows: Sequence[int], prompt: str, states_field: bool = False
) -> list[str]:
    texts: list[str] = []
    for first in range(0, len(rows), BATCH):
        part = rows[first : first + BATCH]
        pixels_MCHW = normalize(grey_levels(studies.pixels_NHW[part])).to(loaded.device)
        regions_MND = FAMILY.see(loaded, pixels_MCHW)
        fields = [f" {state_field(studies.scenes[row].field_mm)}" if states_field else "" for row in part]
        samples = [Sample(id="", image="", prefix=prompt + field, group="") for field in fields]
        batch = FAMILY.encode_texts(loaded, samples, pixels_MCHW, range(len(part)), with_answers=False)
        answers = FAMILY.generate(loaded, batch.to(loaded.device), regions_MND, max_new_tokens=160)
        texts += [answer.text for answer in answers]
    return texts


def _read_answer(question: Question, text: str) -> Answer | None:
    return parse_answer(question, text).answer


def _truth_of(studies: Studies, row: int, id: str) -> Answer:
    truth = studies.scenes[row].truth["answers"][id]
    return tuple(truth) if isinstance(truth, list) else str(truth)


def _judge_standard(studies: Studies, rows: Sequence[int], answers: Sequence[Answer | None]) -> float | None:
    """Return the mean recall of standard and other NT planes: only in the latter NT is said not to be measurable."""
    categories = np.array([studies.scenes[row].truth["category"] for row in rows])
    says_other = np.array([isinstance(answer, tuple) and NOT_MEASURABLE in answer for answer in answers])
    says_standard = np.array([isinstance(answer, tuple) and NT_MEASURED in answer for answer in answers]) & ~says_other
    hits = {"standard NT": says_standard, "non-standard NT": says_other}
    recalls = [hit[categories == plane].mean() for plane, hit in hits.items() if (categories == plane).any()]
    return float(np.mean(recalls)) if len(recalls) == len(hits) else None


def _judge_weeks(loaded: Loaded, studies: Studies, rows: Sequence[int], question: Question) -> dict[str, float | None]:
    low, high = SECOND_TRIMESTER
    middle = [row for row in rows if low <= studies.scenes[row].truth["weeks"] < high]
    errors = []
    for row, text in zip(middle, _answer(loaded, studies, middle, question.wording, states_field=True), strict=True):
        told = parse_answer(question, text).parts.get("q5.weeks")
        if isinstance(told, Quantity):
            errors.append(abs(told.value - studies.scenes[row].truth["weeks"]))
    return {
        "weeks error": float(np.mean(errors)) if errors else None,
        "weeks told": len(errors) / len(middle) if middle else None,
    }


def _judge_boxes(loaded: Loaded, studies: Studies, rows: np.ndarray) -> float | None:
    asked = [row for row in rows if DETECTION in long_tasks(studies.scenes[row], whole_view((1, 1)))]
    told = [read_boxes(text) for text in _answer(loaded, studies, asked, DETECTION)]
    true = [
        read_boxes(long_tasks(studies.scenes[row], whole_view(studies.scenes[row].field_mm))[DETECTION])
        for row in asked
    ]
    labels = sorted({label for boxes in true for label, _ in boxes})
    precisions = [average_precision(label, true, told) for label in labels]
    return float(np.mean(precisions)) if precisions else None


def read_boxes(text: str) -> Boxes:
    """Return the labelled boxes (x0, y0, x1, y1 in thousandths of the sides) that an answer tells."""
    return [(label.strip(), np.array([int(bin) for bin in bins])) for label, *bins in TOLD_BOX.findall(text)]


def average_precision(label: str, true: Sequence[Boxes], told: Sequence[Boxes], overlap: float = 0.5) -> float:
    """Return one label's precision times recall over images: the average precision of boxes without scores."""
    hits = count = given = 0
    for true_boxes, told_boxes in zip(true, told, strict=True):
        open_boxes = [box for name, box in true_boxes if name == label]
        count += len(open_boxes)
        for box in (box for name, box in told_boxes if name == label):
            given += 1
            overlaps = [_overlap(box, other) for other in open_boxes]
            if overlaps and max(overlaps) >= overlap:
                hits += 1
                open_boxes.pop(int(np.argmax(overlaps)))
    return hits / count * hits / given if count and given else 0.0


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over the union of two boxes."""
    sides = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(0)
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    shared = float(np.prod(sides))
    return shared / (sum(areas) - shared) if shared else 0.0


def _value(values: Any) -> float | None:
    value = float(np.asarray(values)[0])
    return None if np.isnan(value) else round(value, 4)
