"""Does the prompt alone tell the answer? Samples and a prompt's template in, figures by question and leaks out."""

from collections.abc import Sequence

import numpy as np

from residency.evaluate.probes import first_numbers
from residency.models.prompts import render_prompt
from residency.types import Answer, Quantity, Sample

LEAK_MARGIN = 0.05


def find_prompt_leak(
    template: str, train: Sequence[Sample], val: Sequence[Sample]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Ask of each question whether a bag of words over the prompt alone beats the majority answer on validation.

    Accuracy for answers in words; for numbers, one minus the error relative to always answering the median. Returns
    the two figures by question, and a sentence for each question where the words win by more than `LEAK_MARGIN`.
    Neighbours' answers, which are told to be used, are left out.
    """
    train, val = ([sample.model_copy(update={"context": None}) for sample in samples] for samples in (train, val))
    figures: dict[str, dict[str, float]] = {}
    leaks = []
    for id in dict.fromkeys(sample.question or "" for sample in train):
        seen = [sample for sample in train if (sample.question or "") == id]
        held = [sample for sample in val if (sample.question or "") == id]
        prompts = [render_prompt(template, sample) for sample in seen]
        if len(held) == 0 or len(set(prompts)) < 2:
            continue
        majority, words = _leak_figures(prompts, seen, [render_prompt(template, sample) for sample in held], held)
        figures[id or "all"] = {"majority": majority, "words": words}
        if words > majority + LEAK_MARGIN:
            leaks.append(f"{id or 'all'}: the prompt's words alone reach {words:.2f}, the majority {majority:.2f}")
    return figures, leaks


def _leak_figures(
    prompts: Sequence[str], seen: Sequence[Sample], held_prompts: Sequence[str], held: Sequence[Sample]
) -> tuple[float, float]:
    """Return what the majority and what the prompt's words reach on the held samples."""
    if all(isinstance(sample.answer, Quantity) for sample in (*seen, *held)):
        return 0.0, _reduced_error(prompts, seen, held_prompts, held)
    labels, truths = [_label(sample) for sample in seen], [_label(sample) for sample in held]
    majority = max(sorted(set(labels)), key=labels.count)
    share = float(np.mean([truth == majority for truth in truths]))
    if len(set(labels)) < 2:
        return share, share
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    bag = CountVectorizer(token_pattern=r"(?u)\S+", binary=True)
    words = LogisticRegression(max_iter=500).fit(bag.fit_transform(prompts), labels)
    guesses = words.predict(bag.transform(held_prompts))
    return share, float(np.mean([guess == truth for guess, truth in zip(guesses, truths, strict=True)]))


def _reduced_error(
    prompts: Sequence[str], seen: Sequence[Sample], held_prompts: Sequence[str], held: Sequence[Sample]
) -> float:
    """Return by what share ridge on a prompt's first number lowers the error of always answering the median."""
    from sklearn.linear_model import Ridge

    known, truth = (np.array([_number(sample.answer) for sample in samples]) for samples in (seen, held))
    floor = np.abs(truth - np.median(known)).mean()
    if not floor:
        return 0.0
    guessed = Ridge().fit(first_numbers(prompts), known).predict(first_numbers(held_prompts))
    return float(1 - np.abs(truth - guessed).mean() / floor)


def _number(answer: Answer | None) -> float:
    assert isinstance(answer, Quantity)
    return answer.value


def _label(sample: Sample) -> str:
    return " | ".join(sample.answer) if isinstance(sample.answer, tuple) else str(sample.answer or sample.suffix)
