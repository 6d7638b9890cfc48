"""Retrieval in a run: its samples in, with their neighbours told where the recipe wants it; and how many help, chosen.

Blind, shuffled and mute answers keep the neighbours of the sample's own image, so that own against blind says what the
image adds to them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from residency.asking import Retrieval
from residency.config import Recipe
from residency.errors import UserError
from residency.evaluate.measure import validation_score
from residency.files import is_there, read_json, sha256_text, write_json
from residency.knowledge.calibration import NAME, Calibration
from residency.knowledge.recall import Recall, open_recall
from residency.knowledge.retrieve import CHOICES
from residency.material import Material
from residency.models.family import Images
from residency.models.registry import Opened
from residency.processes import is_first, wait_for_all
from residency.types import Prediction, Questionnaire, Sample

USUAL = 3
"""How many neighbours validation prompts tell of while a run with `k: auto` trains."""

Tell = Callable[[Sequence[Sample], Images | None], Sequence[Sample]]
"""Samples in, the same with their neighbours told out; images in memory replace files, by `Sample.image`."""


def tell_material(recipe: Recipe, material: Material, run: Path, fold: int, opened: Opened) -> Material:
    """Return a run's samples as they are learned from: with neighbours only where `retrieval.train` is on.

    Test prompts tell of the most neighbours that may be asked for, so that their lengths are proved before training.

    Raises:
        UserError: `k: auto` without validation groups; a stale index.
    """
    settings = recipe.retrieval
    if settings is None or settings.k == 0:
        return material
    if settings.k == "auto" and not material.val:
        raise UserError("retrieval.k: auto needs validation groups to choose by", do="set retrieval.k to a number")
    recall = open_recall(recipe, material.train, fold, run, opened)
    most = max(CHOICES) if settings.k == "auto" else settings.k
    told = replace(material, test=tuple(recall.tell(material.test, [most] * len(material.test))))
    if not settings.train:
        return told
    rng = np.random.default_rng([recipe.train.seed, most])
    counts = rng.choice(CHOICES, len(material.train)).tolist() if settings.k == "auto" else [most] * len(material.train)
    usual = USUAL if settings.k == "auto" else settings.k
    return replace(
        told,
        train=tuple(recall.tell(material.train, counts)),
        val=tuple(recall.tell(material.val, [usual] * len(material.val))),
    )


def tell_asked(
    recipe: Recipe,
    fold: int,
    training: Sequence[Sample],
    val: Sequence[Sample],
    asked: Sequence[Sample],
    questionnaire: Questionnaire | None,
    run: Path,
    folder: Path,
    opened: Opened | None,
    answer: Callable[[Sequence[Sample]], Iterable[Prediction]],
) -> tuple[Sample, ...]:
    """Return the samples that are asked about with their neighbours; `k: auto` is chosen first, and kept in `folder`.

    Raises:
        UserError: there is nothing to choose by, or the index is missing or stale.
    """
    settings = recipe.retrieval
    if settings is None or settings.k == 0:
        return tuple(asked)
    recall = open_recall(recipe, training, fold, run, opened)
    count = settings.k
    if count == "auto":
        count = _calibrated(recipe, recall, val, questionnaire, folder / NAME, answer).k
    return tuple(recall.tell(asked, [count] * len(asked)))


def open_tell(recipe: Recipe, training: Sequence[Sample], fold: int, run: Path, opened: Opened) -> Tell:
    """Return what tells samples of neighbours as `residency predict RUN` does: by the same index, and as many of them.

    Raises:
        UserError: the index is missing or stale, or `k: auto` has not been chosen on validation yet.
        MissingExtra: LanceDB is not installed.
    """
    settings = recipe.retrieval
    if settings is None or settings.k == 0:
        return lambda samples, images: samples
    recall, path = open_recall(recipe, training, fold, run, opened), run / "predictions" / NAME
    count = settings.k
    if count == "auto":
        kept = read_json(path, Calibration) if is_there(path) else None
        if kept is None or kept.settings_sha256 != _hash_settings(settings, recall):
            raise UserError(
                f"{run}: how many similar cases its prompts tell of has not been chosen",
                found=f"{path} is {'of other settings' if kept else 'not there'}",
                do=f"residency predict {run} --as own",
            )
        count = kept.k
    return lambda samples, images: recall.tell(samples, [count] * len(samples), images)


def calibrate_count(
    recall: Recall,
    val: Sequence[Sample],
    questionnaire: Questionnaire | None,
    answer: Callable[[Sequence[Sample]], Iterable[Prediction]],
) -> tuple[int, dict[str, float]]:
    """Return the number of neighbours that answers validation best (the fewest of equals), and all numbers' scores.

    Raises:
        UserError: there is no validation split, or nothing in it can be scored.
    """
    scores = {}
    for count in CHOICES:
        made = list(answer(recall.tell(val, [count] * len(val)))) if val else []
        score, _ = validation_score(val, made, questionnaire)
        if score is None:
            do = "set retrieval.k to a number"
            raise UserError(
                "retrieval.k: auto has no validation answer to choose by", found=f"{len(val)} samples", do=do
            )
        scores[count] = round(score, 6)
    best = max(CHOICES, key=lambda count: (scores[count], -count))
    return best, {str(count): score for count, score in scores.items()}


def _calibrated(
    recipe: Recipe,
    recall: Recall,
    val: Sequence[Sample],
    questionnaire: Questionnaire | None,
    path: Path,
    answer: Callable[[Sequence[Sample]], Iterable[Prediction]],
) -> Calibration:
    assert recipe.retrieval
    digest = _hash_settings(recipe.retrieval, recall)
    if is_there(path) and (kept := read_json(path, Calibration)).settings_sha256 == digest:
        return kept
    wait_for_all()
    count, scores = calibrate_count(recall, val, questionnaire, answer)
    found = Calibration(k=count, scores=scores, samples=len(val), settings_sha256=digest)
    if is_first():
        write_json(path, found.model_dump(mode="json"))
    wait_for_all()
    return found


def _hash_settings(settings: Retrieval, recall: Recall) -> str:
    told = [settings.model_dump(mode="json"), recall.index.card.model_dump(mode="json")]
    return sha256_text(json.dumps(told, sort_keys=True))
