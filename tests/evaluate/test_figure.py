"""The one figure that prompts and checkpoints are chosen by: the same in both places, with its interval by group."""

from pathlib import Path

import numpy as np
import pytest

from residency.data.dataset import load_dataset
from residency.evaluate.figure import draw_figure, estimate_figure
from residency.evaluate.measure import validation_score
from residency.files import read_lines
from residency.types import Prediction


def test_the_figure_is_the_validation_score_and_its_draws_are_paired(made_run: Path) -> None:
    dataset = load_dataset(made_run.parents[1] / "dataset")
    samples = dataset.split("test")
    made = {
        mode: read_lines(made_run / "predictions" / f"test.{mode}.jsonl", Prediction)
        for mode in ("own", "base", "mute")
    }
    found = {mode: estimate_figure(samples, lines, dataset.questionnaire) for mode, lines in made.items()}
    for mode, lines in made.items():
        score, by_question = validation_score(samples, lines, dataset.questionnaire)
        assert found[mode].value == pytest.approx(score)
        assert {one.question for one in found[mode].questions} == set(by_question)
    own = found["own"]
    assert own.low is not None and own.high is not None and own.value is not None and own.groups == 20
    assert own.low < own.value < own.high and own.low > (found["mute"].high or 1)
    value, drawn_R, groups = draw_figure(samples, made["own"], dataset.questionnaire)
    assert (value, groups) == (own.value, 20)
    again_R = draw_figure(samples, made["own"], dataset.questionnaire)[1]
    assert np.array_equal(drawn_R, again_R)
    worse_R = draw_figure(samples, made["mute"], dataset.questionnaire)[1]
    assert np.std(drawn_R - worse_R) < np.std(drawn_R) + np.std(worse_R)
    assert estimate_figure(samples, [], dataset.questionnaire).value is None
    with pytest.raises(ValueError, match="nothing was answered"):
        draw_figure(samples, [], dataset.questionnaire)
