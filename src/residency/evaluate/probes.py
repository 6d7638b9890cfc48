"""What is known of training samples and their answers in, a plain classifier's answers to others out (scikit-learn)."""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.metric import Floats
from residency.evaluate.sets import names_of
from residency.questionnaire import render_value
from residency.types import Answer, AnswerSpec, Quantity

Embed = Callable[[Sequence[str]], NDArray[Any]]
"""Texts in, their embeddings (K, D) out, as wide as the image features."""
NEIGHBOURS = 5
INVERSE_PENALTY = 10.0
"""Of logistic regression on centred features of length 1; measured on fetal_planes with EfficientNet-Lite0."""


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
    return _fit_names(lambda _: model, features_ND, answers, asked_MD, spec)


def nearest_neighbours(
    features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    """Return what the 5 nearest training images (cosine) answer together, the nearer the heavier."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = {"n_neighbors": min(NEIGHBOURS, len(features_ND)), "metric": "cosine", "weights": "distance"}
    model = KNeighborsRegressor(**chosen) if spec.type == "number" else KNeighborsClassifier(**chosen)
    whole = make_pipeline(StandardScaler(with_std=False), model)
    if spec.type == "number":
        return _fit_numbers(whole, features_ND, answers, asked_MD, spec)
    return _fit_names(lambda _: whole, features_ND, answers, asked_MD, spec)


def informed_probe(
    features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec, embed: Embed
) -> list[Answer]:
    """Fit a linear probe whose class weights may lean on the answers' texts (informed.py); of a set, one a member."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    from residency.evaluate.informed import TextInformed

    names = sorted({name for answer in answers for name in (names_of(answer) if spec.type == "set" else [str(answer)])})
    texts = dict(zip(names, embed(names), strict=True)) if names else {}
    balanced = spec.type in ("choice", "text")

    def model_of(member: str | None) -> Any:
        leaning = texts if member is None else {True: texts[member]}
        probe = TextInformed(leaning, C=INVERSE_PENALTY, balanced=balanced)
        return make_pipeline(StandardScaler(with_std=False), Normalizer(), probe)

    return _fit_names(model_of, features_ND, answers, asked_MD, spec)


def question_words(
    texts_N: NDArray[Any], answers: Sequence[Answer], asked_M: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    """Fit the answers to the prompts' words and return the answers to the asked prompts."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    bag = CountVectorizer(token_pattern=r"(?u)\S+", binary=True)
    if spec.type == "number":
        told = make_union(bag, FunctionTransformer(first_numbers))
        ridge = RidgeCV(alphas=np.logspace(-1, 5, 13))
        model = make_pipeline(told, StandardScaler(with_mean=False), ridge)
        return _fit_numbers(model, texts_N, answers, asked_M, spec)
    balanced = "balanced" if spec.type in ("choice", "text") else None
    return _fit_names(
        lambda _: make_pipeline(bag, LogisticRegression(class_weight=balanced, max_iter=500)),
        texts_N,
        answers,
        asked_M,
        spec,
    )


def first_numbers(texts: Sequence[str]) -> Floats:
    """Return the first number x of each text as [x, x^2, 1/x]: shape (N, 3); 0 where there is none."""
    found = [re.search(r"\d+(?:\.\d+)?", str(text)) for text in texts]
    values = np.array([[float(match[0]) if match else 0.0] for match in found])
    return np.hstack([values, values**2, 1 / (values + 1e-6)])


def _fit_numbers(
    model: Any, features_ND: NDArray[Any], answers: Sequence[Answer], asked_MD: NDArray[Any], spec: AnswerSpec
) -> list[Answer]:
    values_N = np.array([answer.value for answer in answers if isinstance(answer, Quantity)])
    if len(values_N) < 2:
        return [Quantity(value=float(np.median(values_N)), unit=spec.unit or "")] * len(asked_MD)
    model.fit(features_ND, values_N)
    return [Quantity(value=float(value), unit=spec.unit or "") for value in model.predict(asked_MD)]


def _fit_names(
    model_of: Callable[[str | None], Any],
    features_ND: NDArray[Any],
    answers: Sequence[Answer],
    asked_MD: NDArray[Any],
    spec: AnswerSpec,
) -> list[Answer]:
    """Fit a classifier to the answers; `model_of` gives it, or that of one member of a set."""
    if spec.type == "set":
        members = sorted({name for answer in answers for name in names_of(answer)})
        members.sort(key=lambda name: spec.names.index(name) if name in spec.names else len(spec.names))
        shares_LM = np.ones((len(members), len(asked_MD)))
        for row, name in enumerate(members):
            held_N = np.array([name in names_of(answer) for answer in answers])
            if not held_N.all():
                shares_LM[row] = _probabilities(model_of(name), features_ND, held_N, asked_MD)[0][:, -1]
        return [
            tuple(name for name, held in zip(members, likely_members(shares_L), strict=True) if held)
            for shares_L in shares_LM.T
        ]
    names_N = np.array([render_value(answer) for answer in answers])
    if len(set(names_N)) == 1:
        return [str(names_N[0])] * len(asked_MD)
    shares_MK, classes = _probabilities(model_of(None), features_ND, names_N, asked_MD)
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
