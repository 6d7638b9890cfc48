import numpy as np
import pytest
from sklearn import metrics

from residency.evaluate.choice import class_rates, count_confusions, tally_choice
from residency.evaluate.metric import Tally
from residency.evaluate.number import median_error, tally_number
from residency.evaluate.ordinal import rank_errors, tally_ordinal
from residency.evaluate.sets import tally_sets
from residency.evaluate.text import split_tokens, token_f1
from residency.types import Answer, AnswerSpec, Option, Quantity

NAMES = ("a", "b", "c", "d")
CHOICE = AnswerSpec(id="q", type="choice", options=tuple(Option(name=name) for name in NAMES))
ORDINAL = CHOICE.model_copy(update={"type": "ordinal"})
SET = CHOICE.model_copy(update={"type": "set"})
NUMBER = AnswerSpec(id="q", type="number", unit="mm")


def value_of(tallies: list[Tally], name: str) -> float:
    tally = next(tally for tally in tallies if tally.metric.name == name)
    return float(tally.value(tally.rows_ND.sum(axis=0, keepdims=True))[0])


@pytest.mark.parametrize("seed", range(5))
def test_choice_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = list(rng.choice(NAMES[:3], 60, p=[0.7, 0.2, 0.1]))
    answers = list(rng.choice(NAMES, 60))
    tallies = tally_choice(CHOICE, truths, answers)
    with pytest.warns(UserWarning):  # scikit-learn warns that `d` is answered and never true
        assert value_of(tallies, "balanced accuracy") == pytest.approx(metrics.balanced_accuracy_score(truths, answers))
    assert value_of(tallies, "accuracy") == pytest.approx(metrics.accuracy_score(truths, answers))
    present = sorted(set(truths))
    expected = metrics.f1_score(truths, answers, labels=present, average="macro", zero_division=0)
    assert value_of(tallies, "macro F1") == pytest.approx(expected)


def test_class_rates_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    truths, answers = list(rng.choice(NAMES, 80)), list(rng.choice(NAMES, 80))
    labels, counts = count_confusions(truths, answers, NAMES)
    assert [row[:-1] for row in counts] == metrics.confusion_matrix(truths, answers, labels=labels).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truths, answers, labels=labels)
    expected = list(zip(support, precision, recall, f1, strict=True))
    assert np.allclose(np.array(class_rates(counts), dtype=float), np.array(expected, dtype=float))


def test_unparsed_choice_counts_as_wrong_and_has_its_own_column() -> None:
    truths, answers = ["a", "a", "b", "b"], ["a", None, "b", None]
    assert value_of(tally_choice(CHOICE, truths, answers), "balanced accuracy") == 0.5
    assert count_confusions(truths, answers, NAMES) == (["a", "b"], [[1, 0, 1], [0, 1, 1]])


def test_class_without_answers_has_no_precision() -> None:
    _, counts = count_confusions(["a", "b"], ["a", "a"], NAMES)
    assert class_rates(counts) == [(1, 0.5, 1.0, pytest.approx(2 / 3)), (1, None, 0.0, 0.0)]


def test_sets_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth_NL, answer_NL = rng.random((50, 4)) < 0.5, rng.random((50, 4)) < 0.5
    truths, answers = ([tuple(np.array(NAMES)[row]) for row in rows] for rows in (truth_NL, answer_NL))
    expected = metrics.f1_score(truth_NL, answer_NL, average="samples", zero_division=1)
    tallies = tally_sets(SET, truths, answers)
    assert value_of(tallies, "F1 a sample") == pytest.approx(expected)
    named = answer_NL.any(axis=1)
    precision = metrics.precision_score(truth_NL[named], answer_NL[named], average="samples", zero_division=0)
    assert value_of(tallies, "precision a sample") == pytest.approx(precision)
    held = truth_NL.any(axis=1)
    recall = metrics.recall_score(truth_NL[held], answer_NL[held], average="samples", zero_division=0)
    assert value_of(tallies, "recall a sample") == pytest.approx(recall)


def test_an_unparsed_set_is_not_an_empty_set() -> None:
    tallies = tally_sets(SET, [(), ()], [(), None])
    assert value_of(tallies, "F1 a sample") == 0.5
    assert value_of(tallies, "exact set") == 0.5


def test_ordinal_error_is_in_ranks_and_silence_takes_the_worst() -> None:
    truths: list[Answer] = ["a", "b", "d", "b"]
    answers = ["a", "d", None, None]
    assert rank_errors(ORDINAL, truths, answers).tolist() == [0, 2, 3, 2]
    tallies = tally_ordinal(ORDINAL, truths, answers)
    assert value_of(tallies, "mean absolute error") == 1.75
    assert value_of(tallies, "accuracy") == 0.25


def test_missing_numbers_are_left_out_and_counted() -> None:
    truths = [Quantity(value=value, unit="mm") for value in (10, 20, 30, 40)]
    answers = [Quantity(value=12, unit="mm"), None, Quantity(value=30, unit="cm"), Quantity(value=34, unit="mm")]
    tallies = tally_number(NUMBER, truths, answers)
    assert value_of(tallies, "mean absolute error") == pytest.approx(metrics.mean_absolute_error([10, 40], [12, 34]))
    assert value_of(tallies, "bias") == -2
    assert tallies[0].scored_N.tolist() == [True, False, False, True]
    assert median_error(truths, answers) == 4


def test_nothing_scored_is_not_zero() -> None:
    tally = tally_number(NUMBER, [Quantity(value=1, unit="mm")], [None])[0]
    assert np.isnan(tally.value(tally.rows_ND.sum(axis=0, keepdims=True))[0])
    assert median_error([Quantity(value=1, unit="mm")], [None]) is None


def test_tokens_of_many_scripts() -> None:
    assert split_tokens("Follow-up at 18-22 weeks; NT 3.5 mm.") == (
        "follow", "up", "at", "18", "22", "weeks", "nt", "3.5", "mm",
    )  # fmt: skip
    assert split_tokens("建议4周后复查。") == tuple("建议4周后复查")
    assert split_tokens("３５週") == ("35", "週")
    assert split_tokens("की जाँच") == ("की", "जाँच")
    assert split_tokens("e\u0301") == split_tokens("é")
    assert split_tokens("left lung<loc_595><loc_2>") == ("left", "lung", "595", "2")


def test_token_f1_counts_repetition() -> None:
    assert token_f1("normal normal scan", "normal scan") == pytest.approx(0.8)
    assert token_f1("正常", "正常胎儿") == pytest.approx(2 / 3)
    assert token_f1("normal", None) == 0
    assert token_f1("Normal.", "normal") == 1
