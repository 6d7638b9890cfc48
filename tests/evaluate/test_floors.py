from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from residency.data.dataset import load_dataset
from residency.evaluate.floors import majority_answer, predict_floor, predict_majority, predict_words
from residency.evaluate.informed import TextInformed
from residency.evaluate.probes import (
    informed_probe,
    likely_members,
    linear_probe,
    nearest_neighbours,
    question_words,
)
from residency.types import Answer, AnswerSpec, Option, Quantity
from tests.made_run import CATEGORIES

NAMES = ("low", "medium", "good")
CHOICE = AnswerSpec(id="q", type="choice", options=tuple(Option(name=name) for name in NAMES))


def of_type(kind: str) -> AnswerSpec:
    return CHOICE.model_copy(update={"type": kind, "unit": "mm" if kind == "number" else None})


def test_majority_by_answer_type() -> None:
    assert majority_answer(CHOICE, ["good", "low", "low", "good"]) == "low"  # a tie: the vocabulary's order
    assert majority_answer(of_type("ordinal"), ["low", "good", "good", "medium", "medium"]) == "medium"
    assert majority_answer(of_type("set"), [("b", "a"), ("a", "b"), ("a",)]) == ("a", "b")
    numbers = [Quantity(value=value, unit="mm") for value in (1, 2, 100)]
    assert majority_answer(of_type("number"), numbers) == Quantity(value=2, unit="mm")
    assert majority_answer(of_type("text"), ["x", "y", "y"]) == "y"
    with pytest.raises(ValueError, match="no training answers"):
        majority_answer(CHOICE, [])


@pytest.mark.parametrize("answer", [linear_probe, nearest_neighbours])
def test_probes_read_what_features_hold(answer: object) -> None:
    assert callable(answer)
    rng = np.random.default_rng(0)
    rank_N = rng.integers(3, size=160)
    features_ND = rng.normal(size=(160, 16))
    features_ND[:, :3] += 6 * np.eye(3)[rank_N]
    seen, asked = slice(0, 100), slice(100, 160)

    def right(kind: str, answers: list[Answer]) -> float:
        given = answer(features_ND[seen], answers[seen], features_ND[asked], of_type(kind))
        return float(np.mean([a == b for a, b in zip(given, answers[asked], strict=True)]))

    names: list[Answer] = [NAMES[rank] for rank in rank_N]
    assert right("choice", names) > 0.9
    assert right("ordinal", names) > 0.9
    assert right("text", names) > 0.9
    assert right("set", [("low",) if rank == 0 else ("low", "good") if rank == 1 else () for rank in rank_N]) > 0.9
    numbers: list[Answer] = [Quantity(value=10.0 * rank, unit="mm") for rank in rank_N]
    given = answer(features_ND[seen], numbers[seen], features_ND[asked], of_type("number"))
    assert np.mean([abs(a.value - b.value) for a, b in zip(given, numbers[asked], strict=True)]) < 4


def test_a_single_training_answer_is_given() -> None:
    features_ND = np.random.default_rng(0).normal(size=(4, 3))
    assert linear_probe(features_ND, ["low"] * 4, features_ND, CHOICE) == ["low"] * 4
    assert linear_probe(features_ND, [()] * 4, features_ND, of_type("set")) == [()] * 4
    assert linear_probe(features_ND, [("low",)] * 4, features_ND, of_type("set")) == [("low",)] * 4


def test_floors_answer_every_question_with_its_parts(made_run) -> None:  # type: ignore[no-untyped-def]
    dataset = load_dataset(made_run.parents[1] / "dataset")
    train, test = dataset.split("train"), dataset.split("test")
    rng = np.random.default_rng(0)
    features = {
        s.image: np.eye(5)[CATEGORIES.index(s.category or "")] + 0.1 * rng.normal(size=5) for s in (*train, *test)
    }
    majority = predict_majority(train, test, dataset.questionnaire)
    probe = predict_floor(train, test, features, "probe", dataset.questionnaire)
    for made in (majority, probe):
        assert {m.id for m in made} == {s.id for s in test}
        assert all(m.parsed is not None for m in made)
        assert any("q4.AC" in m.parts for m in made)
    truths = {s.id: s.answer for s in test if s.question == "q3"}
    assert np.mean([m.parsed == truths[m.id] for m in probe if m.id in truths]) == 1
    assert {m.mode for m in probe} == {"probe"}


def test_set_floor_names_what_competes() -> None:
    assert likely_members(np.array([0.4, 0.4, 0.35])).all()  # none reaches one half, naming nothing scores less
    assert likely_members(np.array([0.9, 0.05])).tolist() == [True, False]
    assert not likely_members(np.array([0.02, 0.1])).any()
    assert likely_members(np.array([])).tolist() == []


def test_a_text_informed_probe_leans_on_what_the_answers_say() -> None:
    rng = np.random.default_rng(0)
    text_KD = np.eye(3, 40)  # each name's text points where its images do; the rest of the features are noise
    texts = dict(zip(NAMES, text_KD, strict=True))
    rank_N = np.r_[np.arange(3).repeat(2), rng.integers(3, size=300)]
    features_ND = rng.normal(size=(len(rank_N), 40)) + 2.2 * text_KD[rank_N]
    names: list[Answer] = [NAMES[rank] for rank in rank_N]
    seen, asked = slice(0, 6), slice(6, None)

    def right(given: list[Answer]) -> float:
        return float(np.mean([a == b for a, b in zip(given, names[asked], strict=True)]))

    def informed(embed: Callable[[Sequence[str]], np.ndarray]) -> float:
        return right(informed_probe(features_ND[seen], names[seen], features_ND[asked], CHOICE, embed))

    plain = right(linear_probe(features_ND[seen], names[seen], features_ND[asked], CHOICE))
    leaning = informed(lambda asked_texts: np.stack([texts[text] for text in asked_texts]))
    turned = informed(lambda asked_texts: np.stack([np.roll(texts[text], 20) for text in asked_texts]))
    assert leaning > plain + 0.1
    assert abs(turned - plain) < 0.1  # texts that say nothing of the images do little harm
    kinds: list[Answer] = [("low",) if rank == 0 else ("low", "good") if rank == 1 else () for rank in rank_N]
    held = informed_probe(
        features_ND[:200],
        kinds[:200],
        features_ND[200:],
        of_type("set"),
        lambda names: np.stack([texts[n] for n in names]),
    )
    assert np.mean([a == b for a, b in zip(held, kinds[200:], strict=True)]) > 0.6


def test_a_text_informed_probe_is_logistic_regression_where_texts_say_nothing() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    features_ND, labels_N = rng.normal(size=(60, 5)), np.array(NAMES)[rng.integers(3, size=60)]
    own = TextInformed({}, C=2.0, balanced=False).fit(features_ND, labels_N)
    known = LogisticRegression(C=2.0, max_iter=2000, tol=1e-8).fit(features_ND, labels_N)
    assert np.allclose(own.predict_proba(features_ND), known.predict_proba(features_ND), atol=1e-3)


def test_words_alone_answer_where_prompts_differ(made_run: Path) -> None:
    dataset = load_dataset(made_run.parents[1] / "dataset")
    train, test = dataset.split("train"), dataset.split("test")
    asked = {sample.id: sample.prefix for sample in (*train, *test)}
    assert predict_words(train, test, asked, dataset.questionnaire) == []
    told = {sample.id: f"{sample.prefix} {sample.category} 30 mm" for sample in (*train, *test)}
    made = {line.id: line for line in predict_words(train, test, told, dataset.questionnaire)}
    planes = [sample for sample in test if sample.question == "q3"]
    assert {line.mode for line in made.values()} == {"words"}
    assert all(made[sample.id].parsed == sample.answer for sample in planes)  # the category gives the plane away
    rng = np.random.default_rng(0)
    weeks = rng.uniform(10, 40, size=80)
    texts = np.array([f"Field {value:.1f} mm" for value in weeks])
    spec = of_type("number")
    given = question_words(texts[:60], [Quantity(value=float(v), unit="mm") for v in weeks[:60]], texts[60:], spec)
    assert np.mean([abs(g.value - v) for g, v in zip(given, weeks[60:], strict=True)]) < 2  # type: ignore[union-attr]
