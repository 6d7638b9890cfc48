"""What any model must beat: training answers (and frozen features) in, floor predictions out.

The majority answer of the training split; a linear probe, a text-informed one and k nearest neighbours on image
features that the caller computed; and the prompt's words alone. The features are arrays; no model is imported here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.gather import holders_of, question_id, specs_of, true_answer
from residency.evaluate.probes import Embed, informed_probe, linear_probe, nearest_neighbours, question_words
from residency.evaluate.sets import names_of
from residency.files import sha256_text
from residency.questionnaire import render_answer, render_value
from residency.types import Answer, AnswerSpec, Floor, Prediction, Quantity, Question, Questionnaire, Sample, SplitName

Probe = Literal["probe", "knn", "textprobe"]
MOST_TEXTS = 64
"""A text question with more different training answers than this has no classifier; its neighbours still answer."""


def majority_answer(spec: AnswerSpec, answers: Sequence[Answer]) -> Answer:
    """Return the best constant answer: the most frequent one, or the median of ranks or numbers.

    Ties go to the earlier name of the vocabulary, else of the alphabet. A set's is the most frequent whole set.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError(f"{spec.id}: no training answers")
    if spec.type == "number":
        values = [answer.value for answer in answers if isinstance(answer, Quantity)]
        return Quantity(value=float(np.median(values)), unit=spec.unit or "")
    if spec.type == "set":
        counts = Counter(tuple(sorted(names_of(answer))) for answer in answers)
        return min(counts, key=lambda names: (-counts[names], names))
    names = [str(answer) for answer in answers]
    if spec.type == "ordinal":
        return sorted(names, key=spec.names.index)[(len(names) - 1) // 2]
    frequency, order = Counter(names), {name: rank for rank, name in enumerate(spec.names)}
    return min(frequency, key=lambda name: (-frequency[name], order.get(name, len(order)), name))


def predict_majority(
    train: Sequence[Sample],
    test: Sequence[Sample],
    questionnaire: Questionnaire | None,
    split: SplitName = "test",
    fold: int = 0,
) -> list[Prediction]:
    """Return the training split's majority answer to each test sample whose question was trained on."""

    def constant(spec: AnswerSpec, holders: Sequence[Sample], asked: Sequence[Sample]) -> list[Answer]:
        return [majority_answer(spec, [_truth_of(spec, sample) for sample in holders])] * len(asked)

    return _predict("majority", constant, train, test, questionnaire, split, fold)


def predict_floor(
    train: Sequence[Sample],
    test: Sequence[Sample],
    features: Mapping[str, NDArray[Any]],
    method: Probe,
    questionnaire: Questionnaire | None,
    split: SplitName = "test",
    fold: int = 0,
    embed: Embed | None = None,
) -> list[Prediction]:
    """Return what a linear probe or kNN on image features answers to each test sample, sub-answers too.

    `features` maps a sample's `image` to its vector [D]. One classifier a question (and sub-answer) is fitted on the
    training samples that hold its answer. `textprobe` wants `embed`, and leaves numbers out.

    Raises:
        KeyError: an image without features.
        ValueError: `textprobe` without `embed`.
    """
    if method == "textprobe" and embed is None:
        raise ValueError("a text-informed probe wants the answers' embeddings")

    def answer(
        seen_ND: NDArray[Any], truths: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
    ) -> list[Answer]:
        if method == "textprobe":
            assert embed
            return informed_probe(seen_ND, truths, asked_MD, spec, embed)
        return (linear_probe if method == "probe" else nearest_neighbours)(seen_ND, truths, asked_MD, spec)

    def fitted(spec: AnswerSpec, holders: Sequence[Sample], asked: Sequence[Sample]) -> list[Answer]:
        truths = [_truth_of(spec, sample) for sample in holders]
        if method != "knn" and spec.type == "text" and len(set(map(str, truths))) > MOST_TEXTS:
            return []
        if method == "textprobe" and spec.type == "number":
            return []
        seen_ND, asked_MD = (np.stack([features[sample.image] for sample in part]) for part in (holders, asked))
        return answer(seen_ND, truths, asked_MD, spec)

    return _predict(method, fitted, train, test, questionnaire, split, fold)


def predict_words(
    train: Sequence[Sample],
    test: Sequence[Sample],
    prompts: Mapping[str, str],
    questionnaire: Questionnaire | None,
    split: SplitName = "test",
    fold: int = 0,
) -> list[Prediction]:
    """Return what a bag of the prompt's words alone answers, where a question's training prompts differ.

    `prompts` maps a sample's id to its prompt. Logistic regression on the words (the commonest answers, where a text
    question has many); ridge regression on the words and the prompt's first number. No image is seen.
    """

    def fitted(spec: AnswerSpec, holders: Sequence[Sample], asked: Sequence[Sample]) -> list[Answer]:
        if len({prompts[sample.id] for sample in holders}) < 2:
            return []
        if spec.type == "text":
            common = {text for text, _ in Counter(str(_truth_of(spec, s)) for s in holders).most_common(MOST_TEXTS)}
            holders = [sample for sample in holders if str(_truth_of(spec, sample)) in common]
        texts_N, asked_M = (np.array([prompts[sample.id] for sample in part]) for part in (holders, asked))
        return question_words(texts_N, [_truth_of(spec, sample) for sample in holders], asked_M, spec)

    return _predict("words", fitted, train, test, questionnaire, split, fold)


def _truth_of(spec: AnswerSpec, sample: Sample) -> Answer:
    answer = sample.parts.get(spec.id, true_answer(sample))
    if answer is None:
        raise ValueError(f"{sample.id} has no answer to {spec.id}")
    return answer


def _predict(
    floor: Floor,
    answer: Any,
    train: Sequence[Sample],
    test: Sequence[Sample],
    questionnaire: Questionnaire | None,
    split: SplitName,
    fold: int,
) -> list[Prediction]:
    made = []
    for question in sorted({question_id(sample) for sample in test}):
        asked = [sample for sample in test if question_id(sample) == question]
        seen = [sample for sample in train if question_id(sample) == question and true_answer(sample) is not None]
        if not seen:
            continue
        spec, part_specs = specs_of(question, seen, questionnaire)
        answers = answer(spec, seen, asked)
        if not answers:
            continue
        parts: list[dict[str, Answer]] = [{} for _ in asked]
        for part in part_specs:
            holders = holders_of(part, seen)
            if holders and (told := answer(part, holders, asked)):
                for held, given in zip(parts, told, strict=True):
                    held[part.id] = given
        for sample, given, held in zip(asked, answers, parts, strict=True):
            text = render_answer(spec, given) if isinstance(spec, Question) else render_value(given)
            made.append(
                Prediction(
                    id=sample.id,
                    model=floor,
                    mode=floor,
                    split=split,
                    fold=fold,
                    prompt_sha256=sha256_text(""),
                    prediction=text,
                    parsed=given,
                    parts=held,
                )
            )
    return made
