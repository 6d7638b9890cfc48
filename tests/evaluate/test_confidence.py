"""Does the model look, does it know, does it admit: through the installed command on planted runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import brier_score_loss

from residency.data.dataset import load_dataset
from residency.evaluate.abstain import find_threshold, upper_bounds
from residency.evaluate.confidence import measure_reliability, risk_curve
from residency.files import read_lines
from residency.types import Prediction
from tests.evaluate.planted import OVERSURE, plant_run, plant_unseeing
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_run(tmp_path_factory.mktemp("planted"))


def test_a_model_that_ignores_images_is_told_in_the_first_lines(tmp_path: Path) -> None:
    run = plant_unseeing(tmp_path)
    code, out, _ = run_residency("evaluate", run)
    assert code == 0
    scores = json.loads((run / "scores" / "scores.json").read_text())
    accuracy = next(s for s in scores["scores"] if (s["of"], s["metric"]) == ("own", "accuracy"))
    assert accuracy["value"] > 0.9  # it scores well
    assert out.splitlines()[0].startswith(
        "warning: The model does not look at the image: over all answers it scores 0.9"
    )
    assert run_residency("report", run)[0] == 0
    page = (run / "report.html").read_text()
    body = page[page.index("<main>") :]
    assert body.index("The model does not look at the image") < 500
    assert "Do not rely on the scores." in body[:500]
    answer = body[body.index('<div class="answer">') :]
    assert answer.index("The model does not look at the image") < 40


def test_one_that_looks_is_not_accused(made_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made_run, tmp_path / "run"))
    assert run_residency("evaluate", run)[0] == 0
    scores = json.loads((run / "scores" / "scores.json").read_text())
    assert [one["outcome"] for one in scores["looking"]] == ["looks", "looks"]
    assert not [w for w in scores["warnings"] if w["kind"] in ("does-not-look", "not-shown-to-look")]


def test_validation_finds_the_temperature_and_calibration_mends(planted: Path) -> None:
    code, out, _ = run_residency("evaluate", planted, "--json")
    found = json.loads(out)["confidence"]
    assert code == 0 and (found["answers"], found["groups"], found["validation_answers"]) == (300, 60, 300)
    assert found["temperature_chosen"] == pytest.approx(OVERSURE, rel=0.25)
    raw, scaled = found["raw"], found["scaled"]
    assert raw["ece"] > 0.08 > scaled["ece"] > 0 and scaled["brier"] < raw["brier"]
    assert raw["ece_low"] < raw["ece"] < raw["ece_high"]
    made = read_lines(planted / "predictions" / "test.own.jsonl", Prediction)
    truth = {s.id: s.answer for s in load_dataset(planted.parents[1] / "dataset").samples}
    right = np.array([float(truth[one.id] == one.parsed) for one in made])
    sure = np.array([one.confidence or 0 for one in made])
    assert raw["brier"] == pytest.approx(brier_score_loss(right, sure))
    places = np.digitize(sure, np.linspace(0, 1, 11)[1:-1], right=True)
    wanted = sum(abs(sure[places == b].sum() - right[places == b].sum()) for b in range(10)) / len(made)
    assert raw["ece"] == pytest.approx(wanted)
    order = np.argsort(-sure)
    wanted = np.mean([np.mean(1 - right[order[: k + 1]]) for k in range(len(made))])
    assert raw["area"] == pytest.approx(wanted)  # no two confidences are equal here
    assert raw["area_low"] < raw["area"] < raw["area_high"]
    assert raw["curve"][-1] == pytest.approx([1.0, 1 - right.mean()])


def test_ece_is_not_told_of_fewer_than_200_answers_and_equal_confidences_go_together() -> None:
    rng = np.random.default_rng(0)
    right, names = (rng.random(199) < 0.7).astype(float), [str(n // 2) for n in range(199)]
    few = measure_reliability(right, np.full(199, 0.7), names, 200, 0)
    assert few.ece is None and few.brier is not None
    assert few.area == pytest.approx(1 - right.mean())  # nothing tells the answers apart
    _, risk = risk_curve(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.5, 0.5]))
    assert risk == pytest.approx([0, 1 / 3, 1 / 3])


def test_subgroups_of_the_sheet_are_scored_with_the_largest_gap(planted: Path) -> None:
    code, out, _ = run_residency("evaluate", planted, "--json")
    found = {one["attribute"]: one for one in json.loads(out)["subgroups"]}
    assert code == 0 and set(found) == {"machine", "age"}  # the patient is no subgroup
    machine = found["machine"]
    assert [(row["value"], row["n"], row["groups"]) for row in machine["rows"]] == [("new", 150, 30), ("old", 150, 30)]
    gap = machine["gap"]
    assert (gap["best"], gap["worst"], gap["pairs"]) == ("new", "old", 1)
    assert gap["gap"] == pytest.approx(machine["rows"][0]["score"] - machine["rows"][1]["score"])
    assert 0 < gap["low"] < gap["gap"] < gap["high"]
    assert len(found["age"]["rows"]) == 3 and found["age"]["gap"]["low"] < 0 < found["age"]["gap"]["high"]
    by_question = {(one["question"], one["attribute"]): one for one in json.loads(out)["question_subgroups"]}
    assert set(by_question) == {("q1", "machine"), ("q1", "age")}
    machine, age = by_question["q1", "machine"], by_question["q1", "age"]
    assert machine["metric"] == "balanced accuracy" and machine["gap"]["worst"] == "old"
    assert machine["gap"]["adjusted"] == pytest.approx(2 * machine["gap"]["p"])  # two gaps: Holm doubles the smaller
    assert machine["gap"]["adjusted"] < 0.05 < age["gap"]["adjusted"] == age["gap"]["p"] and age["gap"]["pairs"] == 3
    warned = [one for one in json.loads(out)["warnings"] if one["kind"] == "subgroup-gap"]
    assert [one["question"] for one in warned] == ["q1"] and "where machine is old" in warned[0]["message"]


def test_a_promised_risk_is_met_or_not_promised(planted: Path, tmp_path: Path) -> None:
    code, out, _ = run_residency("abstain", planted, "--risk", "0.2", "--json")
    found = json.loads(out)
    assert code == 0 and found["reason"] == "promised"
    assert found["upper_bound"] <= 0.2 and 0.2 < found["coverage"] < 1 and found["test_risk"] <= 0.2
    code, out, _ = run_residency("abstain", planted, "--risk", "0.2")
    assert code == 0 and "at most 20% of what is answered is wrong" in out
    code, out, _ = run_residency("abstain", planted, "--risk", "0.01")
    assert code == 0 and "cannot be promised with 60 patients: 1% needs 299 without an error" in out
    bare = Path(shutil.copytree(planted, tmp_path / "bare"))
    (bare / "predictions" / "val.own.jsonl").unlink()
    code, _, err = run_residency("abstain", bare, "--risk", "0.2")
    assert code == 2 and "residency predict RUN --split val --as own" in err
    assert run_residency("abstain", planted, "--risk", "2")[0] == 2
    assert run_residency("abstain", planted, "--risk", "0.2", "--question", "q9")[0] == 2


def test_the_bound_is_clopper_and_pearsons() -> None:
    assert upper_bounds(np.zeros(1), np.array([59.0]))[0] < 0.05 < upper_bounds(np.zeros(1), np.array([58.0]))[0]
    assert upper_bounds(np.array([3.0]), np.array([50.0]))[0] == pytest.approx(beta.ppf(0.95, 4, 47))
    assert upper_bounds(np.array([5.0]), np.array([5.0]))[0] == 1


def test_the_promise_holds_in_repetitions_with_patients_of_several_answers() -> None:
    """The true risk above the threshold exceeds 15% in at most 5% of 400 repetitions (here allowed 7.5% by chance)."""
    rng = np.random.default_rng(0)

    def draw(groups: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        sure_N = rng.uniform(0.4, 1, groups * 4)
        ease_N = rng.random(groups).repeat(4)
        own_N = np.where(
            rng.random(len(sure_N)) < 0.5, ease_N, rng.random(len(sure_N))
        )  # one patient's errors go together
        return (own_N < sure_N).astype(float), sure_N, tuple(str(n // 4) for n in range(len(sure_N)))

    right_L, sure_L, _ = draw(100_000)
    broken, promised = 0, 0
    for _ in range(400):
        threshold, _, _ = find_threshold(*draw(80), 0.15)
        if threshold is not None:
            promised += 1
            broken += float(1 - right_L[sure_L >= threshold].mean()) > 0.15
    assert promised > 200
    assert broken / 400 <= 0.075
