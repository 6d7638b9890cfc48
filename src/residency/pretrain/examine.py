"""What nano knows about simulated studies it was not trained on: a model and studies in, figures out.

The model's own written answers are scored, greedily generated; `evaluate/` scores the tuned model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from residency.data.normalize import parse_answer
from residency.evaluate.boxes import MAP50, tally_boxes
from residency.evaluate.measure import tally_answers
from residency.evaluate.places import Marked, mark_boxes
from residency.evaluate.sets import names_of
from residency.models.family import Answered, Loaded
from residency.models.nano.family import Nano
from residency.pretrain.studies import Studies
from residency.pretrain.tasks import DETECTION, find_boxes, state_field, tell_boxes
from residency.pretrain.vary import grey_levels, normalize, whole_view
from residency.progress import track
from residency.types import Answer, Quantity, Question, Questionnaire, Sample

FAMILY = Nano()
BATCH = 32
SECOND_TRIMESTER = (14.0, 28.0)
"""Weeks of gestation."""
NT_MEASURED, NOT_MEASURABLE = "NT thickness", "NT not measurable"


@dataclass(frozen=True)
class Examined:
    """What a model answered, by row of the studies: each question's text, the age with the field stated, the boxes."""

    answers: Mapping[str, Mapping[int, Answer | None]]
    weeks: Mapping[int, float | None]
    boxes: Mapping[int, Marked]


def examine_studies(loaded: Loaded, studies: Studies, rows: Sequence[int], questionnaire: Questionnaire) -> Examined:
    """Ask a model the questionnaire, the age once more with the field stated, and every structure's box."""
    loaded.model.eval()
    answers: dict[str, dict[int, Answer | None]] = {}
    for question in track(questionnaire.questions, "examining nano"):
        asked = [int(row) for row in rows if question.wording in studies.scenes[row].answers]
        said = _answer(loaded, studies, asked, question.wording)
        read = [parse_answer(question, one.text).answer for one in said]
        answers[question.id] = dict(zip(asked, read, strict=True))
    age = next(question for question in questionnaire.questions if question.id == "q5")
    low, high = SECOND_TRIMESTER
    middle = [row for row in answers["q5"] if low <= studies.scenes[row].truth["weeks"] < high]
    told = _answer(loaded, studies, middle, age.wording, states_field=True)
    seen = [int(row) for row in rows if studies.scenes[row].outlines]
    found = _answer(loaded, studies, seen, DETECTION)
    return Examined(
        answers,
        {row: _weeks_in(age, one.text) for row, one in zip(middle, told, strict=True)},
        {row: mark_boxes(one.text, one.box_scores) for row, one in zip(seen, found, strict=True)},
    )


def score_studies(
    examined: Examined, studies: Studies, rows: Sequence[int], questionnaire: Questionnaire
) -> dict[str, float | None]:
    """Return each question's primary score over these rows, and the figures that nano is held to; None: no such case.

    `NT standard` is the balanced accuracy of telling standard NT planes from others, by what can be measured there;
    `weeks error` the mean absolute error of the age in the second trimester over the share `weeks told`; `boxes mAP50`
    the mean average precision at IoU 0.5 over structures. A row may stand among `rows` more than once (bootstrap).
    """
    figures: dict[str, float | None] = {}
    for question in questionnaire.questions:
        given = examined.answers[question.id]
        asked = [row for row in rows if row in given]
        truths = [_truth_of(studies, row, question.id) for row in asked]
        tally = tally_answers(question, truths, [given[row] for row in asked])[0]
        value = float(tally.value(tally.rows_ND.sum(0, keepdims=True))[0])
        figures[f"{question.id} {tally.metric.name}"] = None if np.isnan(value) else value
    planes = examined.answers["q3"]
    figures["plane accuracy"] = _mean([planes[row] == _truth_of(studies, row, "q3") for row in rows if row in planes])
    figures["NT standard"] = _judge_standard(studies, [row for row in rows if row in examined.answers["q4"]], examined)
    ages = [(examined.weeks[row], studies.scenes[row].truth["weeks"]) for row in rows if row in examined.weeks]
    figures["weeks error"] = _mean([abs(told - true) for told, true in ages if told is not None])
    figures["weeks told"] = _mean([told is not None for told, _ in ages])
    figures["boxes mAP50"] = _judge_boxes(examined, studies, [row for row in rows if row in examined.boxes])
    return figures


@torch.inference_mode()
def _answer(
    loaded: Loaded, studies: Studies, rows: Sequence[int], prompt: str, states_field: bool = False
) -> list[Answered]:
    said: list[Answered] = []
    for first in range(0, len(rows), BATCH):
        part = rows[first : first + BATCH]
        pixels_MCHW = normalize(grey_levels(studies.pixels_NHW[part])).to(loaded.device)
        regions_MND = FAMILY.see(loaded, pixels_MCHW)
        fields = [f" {state_field(studies.scenes[row].field_mm)}" if states_field else "" for row in part]
        samples = [Sample(id="", image="", prefix=prompt + field, group="") for field in fields]
        batch = FAMILY.encode_texts(loaded, samples, pixels_MCHW, range(len(part)), with_answers=False)
        said += FAMILY.generate(loaded, batch.to(loaded.device), regions_MND, max_new_tokens=160)
    return said


def _truth_of(studies: Studies, row: int, id: str) -> Answer:
    truth = studies.scenes[row].truth["answers"][id]
    return tuple(truth) if isinstance(truth, list) else str(truth)


def _weeks_in(question: Question, text: str) -> float | None:
    told = parse_answer(question, text).parts.get("q5.weeks")
    return told.value if isinstance(told, Quantity) else None


def _judge_standard(studies: Studies, rows: Sequence[int], examined: Examined) -> float | None:
    """Return the mean recall of standard and other NT planes: only in the latter NT is said not to be measurable."""
    categories = np.array([studies.scenes[row].truth["category"] for row in rows])
    told = [names_of(examined.answers["q4"][row]) for row in rows]
    says_other = np.array([NOT_MEASURABLE in names for names in told])
    says_standard = np.array([NT_MEASURED in names for names in told]) & ~says_other
    hits = {"standard NT": says_standard, "non-standard NT": says_other}
    recalls = [hit[categories == plane].mean() for plane, hit in hits.items() if (categories == plane).any()]
    return float(np.mean(recalls)) if len(recalls) == len(hits) else None


def _judge_boxes(examined: Examined, studies: Studies, rows: Sequence[int]) -> float | None:
    told = [examined.boxes[row] for row in rows]
    true = [mark_boxes(tell_boxes(find_boxes(studies.scenes[row], whole_view((1, 1))))) for row in rows]
    if not true:
        return None
    tally = next(tally for tally in tally_boxes(true, told) if tally.metric == MAP50)
    value = float(tally.value(tally.rows_ND.sum(0, keepdims=True))[0])
    return None if np.isnan(value) else value


def _mean(marks: Sequence[float]) -> float | None:
    return float(np.mean(marks)) if marks else None
