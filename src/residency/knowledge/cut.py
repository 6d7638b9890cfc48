"""A sheet's answer and the claims to leave out in; the answer without them out, nothing else changed."""

from collections.abc import Iterable, Sequence

import numpy as np

from residency.evaluate.claims.claim import Claim
from residency.knowledge.verdict import list_claims
from residency.questionnaire import render_answer
from residency.types import Answer, Question, Questionnaire, Sample


def cut_sample(sample: Sample, lost: frozenset[str], questionnaire: Questionnaire) -> Sample:
    """Return the sample without the claims of these keys; its text is None where nothing is left to say.

    Where nothing is cut the sample is returned as it is.
    """
    if not lost or sample.question is None:
        return sample
    question = questionnaire.question(sample.question)
    answer = _cut_value(question.id, sample.answer, lost)
    if answer is None or question.id in lost:
        return sample.model_copy(update={"suffix": None, "answer": None, "parts": {}})
    kept = {id: _cut_value(id, value, lost) for id, value in sample.parts.items() if id not in lost}
    parts = {id: value for id, value in kept.items() if value is not None and not _is_orphan(question, id, answer)}
    text = render_answer(question, answer, parts)
    return sample.model_copy(update={"suffix": text, "answer": answer, "parts": parts})


def find_lost(sample: Sample, keys: Iterable[str], questionnaire: Questionnaire) -> dict[str, Claim]:
    """Return the claims that go when these are cut: themselves, and what cannot be said without them."""
    wanted = frozenset(keys)
    left = list_claims(cut_sample(sample, wanted, questionnaire), questionnaire)
    return {key: claim for key, claim in list_claims(sample, questionnaire).items() if key not in left}


def draw_random(
    samples: Sequence[Sample], count: int, questionnaire: Questionnaire, rng: np.random.Generator
) -> dict[str, frozenset[str]]:
    """Return keys to cut by sample id: drawn among all claims of these samples until `count` claims go, never more."""
    every = [(sample, key) for sample in samples for key in list_claims(sample, questionnaire)]
    chosen: dict[str, frozenset[str]] = {}
    gone: dict[str, int] = {}
    for place in rng.permutation(len(every)):
        sample, key = every[int(place)]
        tried = chosen.get(sample.id, frozenset()) | {key}
        lost = len(find_lost(sample, tried, questionnaire))
        if sum(gone.values()) - gone.get(sample.id, 0) + lost <= count:
            chosen[sample.id], gone[sample.id] = tried, lost
    return chosen


def _cut_value(id: str, value: Answer | None, lost: frozenset[str]) -> Answer | None:
    """Return a value without its lost members (None: a set of which nothing is left)."""
    if not isinstance(value, tuple):
        return value
    if not value:
        return None if f"{id}:none" in lost else value
    return tuple(name for name in value if f"{id}:{name}" not in lost) or None


def _is_orphan(question: Question, part: str, answer: Answer) -> bool:
    """Tell whether a part is the number of a set's member that is not named any more."""
    name = part.removeprefix(f"{question.id}.")
    return isinstance(answer, tuple) and name in question.names and name not in answer
