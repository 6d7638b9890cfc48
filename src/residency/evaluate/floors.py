"""What any model must beat: training answers (and frozen features) in, floor predictions out.

The majority answer of the training split, a linear probe and k nearest neighbours on image features that the caller
computed. The features are arrays; no model is imported here.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.gather import holders_of, question_id, specs_of, true_answer
from residency.evaluate.metric import Floats
from residency.evaluate.sets import names_of
from residency.files import sha256_text
from residency.questionnaire import render_answer, render_value
from residency.types import Answer, AnswerSpec, Floor, Prediction, Quantity, Question, Questionnaire, Sample, SplitName

Probe = Literal["probe", "knn"]
NEIGHBOURS = 5
MOST_TEXTS = 64
"""A text question with more different training answers than this has no classifier; its neighbours still answer."""
INVERSE_PENALTY = 10.0
"""Of logistic regression on centred features of length 1; measured on fetal_planes with EfficientNet-Lite0."""


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
) -> list[Prediction]:
    """Return what a linear probe or kNN on image features answers to each test sample, sub-answers too.

    `features` maps a sample's `image` to its vector [D]. One classifier a question (and sub-answer) is fitted on the
    training samples that hold its answer.

    Raises:
        KeyError: an image without features.
    """
    answer = linear_probe if method == "probe" else nearest_neighbours

    def fitted(spec: AnswerSpec, holders: Sequence[Sample], asked: Sequence[Sample]) -> list[Answer]:
        truths = [_truth_of(spec, sample) for sample in holders]
        if method == "probe" and spec.type == "text" and len(set(map(str, truths))) > MOST_TEXTS:
            return []
        seen_ND, asked_MD = (np.stack([features[sample.image] for sample in part]) for part in (holders, asked))
        return answer(seen_ND, truths, asked_MD, spec)

    return _predict(method, fitted, train, test, questionnaire, split, fold)


def linear_probe(
    features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    """Fit a linear model of the features to the answers and return its answers to the asked images.

    Choice and text: logistic regression with balanced classes; ordinal: the median of its class probabilities; set:
    one logistic regression a member, all on centred features of length 1. Number: ridge regression on standardized
    features, its penalty by leave-one-out.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    if spec.type == "number":
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13)))
        return _fit_numbers(model, features_ND, answers, asked_MD, spec)
    balanced = "balanced" if spec.type in ("choice", "text") else None
    logistic = LogisticRegression(C=INVERSE_PENALTY, class_weight=balanced, max_iter=500)
    model = make_pipeline(StandardScaler(with_std=False), Normalizer(), logistic)
    return _fit_names(model, features_ND, answers, asked_MD, spec)


def nearest_neighbours(
    features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    """Return what the 5 nearest training images (cosine) answer together, the nearer the heavier."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = {"n_neighbors": min(NEIGHBOURS, len(features_ND)), "metric": "cosine", "weights": "distance"}
    model = KNeighborsRegressor(**chosen) if spec.type == "number" else KNeighborsClassifier(**chosen)
    fit = _fit_numbers if spec.type == "number" else _fit_names
    return fit(make_pipeline(StandardScaler(with_std=False), model), features_ND, answers, asked_MD, spec)


def _fit_numbers(
    model: Any, features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    values_N = np.array([answer.value for answer in answers if isinstance(answer, Quantity)])
    if len(values_N) < 2:
        return [majority_answer(spec, answers)] * len(asked_MD)
    model.fit(features_ND, values_N)
    return [Quantity(value=float(value), unit=spec.unit or "") for value in model.predict(asked_MD)]


def _fit_names(
    model: Any, features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    if spec.type == "set":
        members = sorted({name for answer in answers for name in names_of(answer)})
        members.sort(key=lambda name: spec.names.index(name) if name in spec.names else len(spec.names))
        shares_LM = np.ones((len(members), len(asked_MD)))
        for row, name in enumerate(members):
            held_N = np.array([name in names_of(answer) for answer in answers])
            if not held_N.all():
                shares_LM[row] = _probabilities(model, features_ND, held_N, asked_MD)[0][:, -1]
        return [
            tuple(name for name, held in zip(members, likely_members(shares_L), strict=True) if held)
            for shares_L in shares_LM.T
        ]
    names_N = np.array([render_value(answer) for answer in answers])
    if len(set(names_N)) == 1:
        return [str(names_N[0])] * len(asked_MD)
    shares_MK, classes = _probabilities(model, features_ND, names_N, asked_MD)
    if spec.type != "ordinal":
        return [str(classes[best]) for best in shares_MK.argmax(axis=1)]
    order_K = np.argsort([spec.names.index(str(name)) for name in classes])
    medians_M = (shares_MK[:, order_K].cumsum(axis=1) < 0.5).sum(axis=1).clip(max=len(classes) - 1)
    return [str(classes[order_K[median]]) for median in medians_M]


def likely_members(shares_L: Floats) -> NDArray[np.bool_]:
    """Return which of L members to name, given their probabilities, for the best expected F1 of the set.

    The k likeliest are expected to score about 2 sum(p of them) / (k + sum(p)), none of them the chance that the true
    set is empty; a fixed threshold of one half would name nothing wherever several sets compete.
    """
    order_L = np.argsort(-shares_L, kind="stable")
    counts_L = np.arange(1, len(shares_L) + 1)
    expected_L = 2 * shares_L[order_L].cumsum() / (counts_L + shares_L.sum())
    named_L = np.zeros(len(shares_L), dtype=np.bool_)
    if len(shares_L) and expected_L.max() >= np.prod(1 - shares_L):
        named_L[order_L[: expected_L.argmax() + 1]] = True
    return named_L


def _probabilities(
    model: Any, features_ND: NDArray[Any], labels_N: NDArray[Any], asked_MD: NDArray[Any]
) -> tuple[Floats, NDArray[Any]]:
    with warnings.catch_warnings():  # free texts are nearly all different; that they are names all the same is meant
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        model.fit(features_ND, labels_N)
    return np.asarray(model.predict_proba(asked_MD)), np.asarray(model[-1].classes_)


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
            if holders := holders_of(part, seen):
                for held, given in zip(parts, answer(part, holders, asked), strict=True):
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
