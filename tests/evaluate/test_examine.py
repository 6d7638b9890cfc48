import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.errors import CheckFailed, UserError
from residency.evaluate.examine import evaluate_file, evaluate_run, load_examination
from residency.evaluate.measure import validation_score
from residency.evaluate.records import Examination, Mark
from residency.evaluate.verdict import outcome_of
from residency.files import read_lines, sha256_file, sha256_text, write_lines
from residency.types import Fold, Prediction, Sample, Score, Splits
from tests.made_run import make_run


@pytest.fixture(scope="module")
def examined(made_run: Path) -> Examination:
    return evaluate_run(made_run, draws=500)


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made_run, tmp_path / "run"))


def score_of(examination: Examination, of: str, question: str, metric: str = "", subset: str = "all") -> Score:
    found = [
        score
        for score in examination.scores
        if (score.of, score.question, score.subset) == (of, question, subset) and metric in (score.metric, "")
    ]
    assert found, (of, question, metric, subset)
    return found[0]


def kinds_of(examination: Examination) -> set[str]:
    return {warned.kind for warned in examination.warnings}


def test_primary_scores_equal_a_count_by_hand(examined: Examination, made_run: Path) -> None:
    samples = {sample.id: sample for sample in load_dataset(made_run.parents[1] / "dataset").samples}
    own = read_lines(made_run / "predictions" / "test.own.jsonl", Prediction)
    planes = [(samples[made.id].answer, made.parsed) for made in own if samples[made.id].question == "q3"]
    recalls = [np.mean([truth == given for truth, given in planes if truth == name]) for name in {t for t, _ in planes}]
    found = score_of(examined, "own", "q3", "balanced accuracy")
    assert found.value == pytest.approx(float(np.mean(recalls)))
    assert (found.n, found.groups) == (40, 20)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high
    accuracy = score_of(examined, "own", "q3", "accuracy")
    assert accuracy.value == pytest.approx(np.mean([truth == given for truth, given in planes]))


def test_every_question_is_scored_with_every_comparison(examined: Examination) -> None:
    assert [shown.id for shown in examined.questions if not shown.is_part] == [f"q{n}" for n in range(1, 9)]
    for shown in examined.questions:
        for of in ("own", "base", "blind", "shuffled", "mute", "majority", "probe", "knn"):
            assert score_of(examined, of, shown.id, shown.metric)
            if of != "own":
                assert score_of(examined, f"own-{of}", shown.id).metric.startswith(("gain in", "reduction of"))
    assert {shown.id for shown in examined.questions if shown.is_part} >= {"q4.AC", "q5.weeks", "q6.factors"}
    assert {verdict.question for verdict in examined.verdicts} == {f"q{n}" for n in range(1, 9)}


def test_error_gains_are_positive_where_the_tuned_model_errs_less(examined: Examination) -> None:
    own, base = (score_of(examined, of, "q5", "mean absolute error").value for of in ("own", "base"))
    gain = score_of(examined, "own-base", "q5", "reduction of mean absolute error")
    assert own is not None and base is not None and own < base
    assert gain.value == pytest.approx(base - own)
    verdict = next(v for v in examined.verdicts if v.question == "q5" and v.against == "base")
    assert verdict.outcome == "better"


def test_majority_scores_what_a_constant_scores(examined: Examination) -> None:
    assert score_of(examined, "majority", "q3", "balanced accuracy").value == pytest.approx(1 / 5)
    assert score_of(examined, "majority", "q7", "balanced accuracy").value == pytest.approx(1 / 2)


def test_tally_counts_verdicts(examined: Examination) -> None:
    better = {(v.question, v.against) for v in examined.verdicts if v.outcome == "better"}
    both = sum({(f"q{n}", "majority"), (f"q{n}", "blind")} <= better for n in range(1, 9))
    assert examined.tallied.better_than_majority_and_blind == both
    assert f"on {both} of 8 questions" in examined.tallied.sentence()


def test_categories_and_annotated_ones_stand_apart(examined: Examination) -> None:
    assert score_of(examined, "own", "q3", subset="category=femur").n == 8
    assert score_of(examined, "own", "q3", subset="annotated=yes").n == 40
    assert "aorta" not in examined.annotated_categories
    assert not any(score.subset == "annotated=no" for score in examined.scores)


def test_scores_are_written_with_hashes_and_read_back(examined: Examination, made_run: Path) -> None:
    assert load_examination(made_run) == examined
    written = json.loads((made_run / "scores" / "scores.json").read_text())
    assert written["hashes"]["samples"] == sha256_file(made_run.parents[1] / "dataset" / "samples.jsonl")
    own = "predictions/test.own.jsonl"
    assert written["hashes"]["predictions"][own] == sha256_file(made_run / own)
    marks = read_lines(made_run / "scores" / "marks.jsonl", Mark)
    planes = [mark.credit for mark in marks if (mark.of, mark.question) == ("own", "q3")]
    assert np.mean(planes) == pytest.approx(score_of(examined, "own", "q3", "accuracy").value)


def test_same_run_same_scores(examined: Examination, run: Path) -> None:
    assert evaluate_run(run, draws=500).scores == examined.scores


def test_a_missing_mode_is_not_run(run: Path) -> None:
    (run / "predictions" / "test.blind.jsonl").unlink()
    examination = evaluate_run(run, draws=100)
    assert examination.not_run == ("blind",)
    assert {v.outcome for v in examination.verdicts if v.against == "blind"} == {"not run"}
    assert "blind" not in examination.tallied.better
    assert examination.tallied.better_than_majority_and_blind == 0
    assert "not-run" in kinds_of(examination)


def test_folds_are_pooled_and_drawn_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, folds=5, groups=30, modes={"own": 0.8, "blind": 0.3})
    (run / "config.yaml").unlink()  # fold=all writes a recipe a fold
    examination = evaluate_run(run, draws=200)
    found = score_of(examination, "own", "q3", "balanced accuracy")
    assert (examination.folds, found.n, found.groups) == (5, 60, 30)
    # one constant over all folds: never below what a constant scores
    assert score_of(examination, "majority", "q3", "balanced accuracy").value == pytest.approx(1 / 5)
    twice = run / "fold-1" / "predictions" / "test.own.jsonl"
    twice.write_text(twice.read_text() + (run / "fold-0" / "predictions" / "test.own.jsonl").read_text())
    with pytest.raises(CheckFailed, match="two predictions"):
        evaluate_run(run, draws=100)


def test_unparsed_answers_count_as_wrong_and_warn(run: Path) -> None:
    file = run / "predictions" / "test.own.jsonl"
    made = read_lines(file, Prediction)
    silent = {"parsed": None, "parts": {}, "prediction": "a picture"}
    write_lines(file, [m.model_copy(update=silent) if "-q3" in m.id else m for m in made])
    examination = evaluate_run(run, draws=100)
    found = score_of(examination, "own", "q3", "balanced accuracy")
    assert (found.value, found.unparsed, found.unscored, found.n) == (0, 40, 0, 40)
    assert "q3 40 of 40" in next(warned.message for warned in examination.warnings if warned.kind == "unparsed")


def test_unparsed_numbers_are_unscored_not_zero(run: Path) -> None:
    file = run / "predictions" / "test.own.jsonl"
    write_lines(file, [made.model_copy(update={"parts": {}}) for made in read_lines(file, Prediction)])
    found = score_of(evaluate_run(run, draws=100), "own", "q4.AC", "mean absolute error")
    assert (found.value, found.n, found.unparsed, found.unscored) == (None, 0, 8, 8)


def test_missing_predictions_are_told(run: Path) -> None:
    file = run / "predictions" / "test.own.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-16]))
    examination = evaluate_run(run, draws=100)
    assert "16 of 320" in next(w.message for w in examination.warnings if w.kind == "missing-predictions")


def test_a_leak_is_found(run: Path, made_run: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(made_run.parents[1] / "dataset", tmp_path / "data"))
    dataset = load_dataset(data)
    assert dataset.splits
    fold = dataset.splits.folds[0]
    moved = Fold(train=(*fold.train, fold.test[0]), val=fold.val, test=fold.test[1:])
    splits = Splits(seed=0, method="leaky", folds=(moved,))
    write_dataset(Dataset(data, dataset.samples, dataset.questionnaire, splits))
    examination = evaluate_run(run, data, draws=100)
    assert fold.test[0] in next(w.message for w in examination.warnings if w.kind == "leak")
    assert score_of(examination, "own", "q3", "balanced accuracy").groups == 19


def test_other_words_in_the_base_prompt_are_told(run: Path) -> None:
    file = run / "predictions" / "test.base.jsonl"
    other = sha256_text("other words")
    write_lines(file, [made.model_copy(update={"prompt_sha256": other}) for made in read_lines(file, Prediction)])
    assert "prompts-differ" in kinds_of(evaluate_run(run, draws=100))


def test_imbalance_is_told(examined: Examination) -> None:
    told = next(warned for warned in examined.warnings if warned.kind == "imbalance")
    assert told.question == "q7" and "90%" in told.message


def test_few_groups_and_blindness_are_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, seed=1, groups=24, modes={"own": 0.5, "blind": 0.5})
    kinds = kinds_of(evaluate_run(run, draws=200))
    assert {"too-few-groups", "not-better-than-blind"} <= kinds


def test_file_is_scored_with_its_siblings(made_run: Path, tmp_path: Path) -> None:
    shutil.copy(made_run / "predictions" / "test.base.jsonl", tmp_path / "other.jsonl")
    with pytest.raises(UserError, match="--data"):
        evaluate_file(tmp_path / "other.jsonl")
    examination = evaluate_file(tmp_path / "other.jsonl", made_run.parents[1] / "dataset", draws=100)
    assert "own" in examination.not_run and "base" in examination.ran
    siblings = evaluate_file(made_run / "predictions" / "test.own.jsonl", draws=100)
    assert siblings.not_run == ()


def test_unknown_samples_and_runs_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        evaluate_run(tmp_path / "nothing")
    file = run / "predictions" / "test.own.jsonl"
    file.write_text(file.read_text().replace("abdomen-", "stranger-"))
    with pytest.raises(CheckFailed, match="no such sample"):
        evaluate_run(run)
    file.unlink()
    with pytest.raises(UserError, match="residency predict"):
        evaluate_run(run)


def test_plain_captions_need_no_questionnaire(tmp_path: Path) -> None:
    samples = [
        Sample(id=str(n), image="a.png", prefix="<CAPTION>", suffix=f"normal lung {n % 3}", group=str(n))
        for n in range(30)
    ]
    write_dataset(Dataset(tmp_path / "data", tuple(samples), None, None))
    made = [
        Prediction.model_validate(
            {"id": s.id, "model": "m", "as": "own", "split": "all", "prompt_sha256": "0", "prediction": "normal lung 1"}
        )
        for s in samples
    ]
    write_lines(tmp_path / "all.own.jsonl", made)
    examination = evaluate_file(tmp_path / "all.own.jsonl", tmp_path / "data", draws=100)
    found = score_of(examination, "own", "<CAPTION>", "token F1")
    assert found.value == pytest.approx((2 / 3 * 2 + 1) / 3)
    assert "majority" in examination.not_run


def test_validation_score_is_high_for_the_truth_and_low_for_silence(made_run: Path) -> None:
    dataset = load_dataset(made_run.parents[1] / "dataset")
    samples = dataset.split("test")
    told = [
        Prediction.model_validate(
            {"id": s.id, "model": "m", "as": "own", "split": "val", "prompt_sha256": "0", "prediction": "x",
             "parsed": s.answer, "parts": s.parts}
        )
        for s in samples
    ]  # fmt: skip
    figure, by_question = validation_score(samples, told, dataset.questionnaire)
    assert figure == 1 and set(by_question) == {f"q{n}" for n in range(1, 9)}
    silent = [made.model_copy(update={"parsed": None, "parts": {}, "prediction": ""}) for made in told]
    assert validation_score(samples, silent, dataset.questionnaire)[0] == 0
    assert validation_score([], [], None) == (None, {})


def test_nothing_is_judged_on_a_handful_of_groups() -> None:
    gain = Score(of="own-base", question="q1", metric="gain in accuracy", value=1, low=1, high=1, n=20, groups=5)
    assert outcome_of(gain) == "tie"
    assert outcome_of(gain.model_copy(update={"groups": 6})) == "better"
    assert outcome_of(gain.model_copy(update={"groups": 6, "low": -1, "high": -0.1})) == "worse"
    assert outcome_of(None) == "not run"
