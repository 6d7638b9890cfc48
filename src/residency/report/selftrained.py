"""What a run's `selftraining.json` holds in (a mapping for each fold, empty: none), a sentence for each fold out."""

from collections.abc import Mapping, Sequence
from typing import Any


def tell_self_training(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each fold's model learned from its own answers; nothing where self-training was not asked for."""
    told = [(fold, _tell_fold(record)) for fold, record in enumerate(records) if record]
    return [sentence if len(records) == 1 else f"Fold {fold}: {sentence}" for fold, sentence in told]


def _tell_fold(record: Mapping[str, Any]) -> str:
    rounds, shipped = record["rounds"], record["shipped"]
    teacher, student = rounds[0], rounds[shipped or -1]
    if len(rounds) == 1:
        return (
            f"Self-training was tried on {record['unanswered_images']} images without answers; the model gave no "
            "confident and consistent answer, so it learned from none."
        )
    own = f"{student['pseudo_answers']} answers of the model's own on {student['pseudo_images']} images without answers"
    if not shipped:
        return (
            f"Self-training was tried with {own}: by validation it was not better than without them "
            f"({_score(student)}, {_score(teacher)}), so this model learned from none of them."
        )
    if student["score"] is None:
        return f"Besides, it learned from {own} (self-training; nothing was there to validate whether they help)."
    return (
        f"Besides, it learned from {own} (self-training; by validation better with them, "
        f"{_score(student)}, than without, {_score(teacher)})."
    )


def _score(one: Mapping[str, Any]) -> str:
    return f"{one['score']:.3f}"
