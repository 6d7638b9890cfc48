"""The report's figures of evidence, its claims and its methods paragraph, after the commands that make them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from residency.evaluate.measure import METRIC_VERSION
from tests.evaluate.planted import plant_run
from tests.report.test_page import Page
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_run(tmp_path_factory.mktemp("planted"))


def test_what_a_model_knows_and_admits_is_drawn_and_told(planted: Path) -> None:
    assert run_residency("evaluate", planted)[0] == 0
    assert run_residency("abstain", planted, "--risk", "0.2")[0] == 0
    assert run_residency("judge", planted)[0] == 0
    assert run_residency("report", planted)[0] == 0
    text = (planted / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    said = " ".join("".join(page.said).split())
    assert not page.open and len(re.findall(r"<svg [^>]*width=\"619", text)) >= 3
    for words in (
        "Does it know when it is wrong?", "at temperature 2.", "at most 20% of what is answered is wrong",
        "machine: largest gap", "new better than old", "interval adjusted for 3 pairs", "descriptiveness precision",
        "Differences, with their intervals", "after Holm", "largest gap in the primary score",
    ):  # fmt: skip
        assert words in said, words
    scores = json.loads((planted / "scores" / "scores.json").read_text())
    for found in (scores["confidence"]["raw"], scores["confidence"]["scaled"]):
        assert found["ece_low"] <= found["ece"] <= found["ece_high"]
        assert f"{found['brier']:.3f}" in said and f"{found['area']:.3f}" in said
    assert scores["subgroups"][0]["rows"][0]["value"].startswith("up to")


def test_the_methods_paragraph_holds_what_was_done_and_nothing_else(planted: Path, made_run: Path) -> None:
    assert run_residency("evaluate", planted)[0] == 0 and run_residency("report", planted)[0] == 0
    said = " ".join("".join(Page((planted / "report.html").read_text()).said).split())
    scores = json.loads((planted / "scores" / "scores.json").read_text())
    for words in (
        "examined on 300 answers of 60 patients of the test split", "2,000 bootstrap resamples of whole patients",
        "scaled by temperature (Guo 2017) on 300 validation answers", f"data {scores['hashes']['samples'][:12]}",
        f"metric version {scores['hashes']['metric_version']}", "Mean credit is given by age, machine",
    ):  # fmt: skip
        assert words in said, words
    assert "the tuned model with the training split's mean image" not in said  # blind was not run here
    assert run_residency("evaluate", made_run)[0] == 0 and run_residency("report", made_run)[0] == 0
    said = " ".join("".join(Page((made_run / "report.html").read_text()).said).split())
    assert "the tuned model with the training split's mean image" in said and "Guo 2017" not in said


def test_every_score_file_is_stamped(planted: Path, tmp_path: Path) -> None:
    other = shutil.copytree(planted, tmp_path / "other")
    assert run_residency("evaluate", planted)[0] == 0 and run_residency("judge", planted)[0] == 0
    assert run_residency("abstain", planted, "--risk", "0.2")[0] == 0
    assert run_residency("compare", planted, other, "--out", tmp_path / "out")[0] == 0
    files = [planted / "scores" / f"{name}.json" for name in ("scores", "claims", "abstention")]
    stamps = [json.loads(file.read_text())["hashes"] for file in files]
    stamps += [one["hashes"] for one in json.loads((tmp_path / "out" / "comparison.json").read_text())["contestants"]]
    for stamp in stamps:
        for key in ("samples", "splits", "questionnaire", "prompts", "code", "metric"):
            assert re.fullmatch(r"[0-9a-f]{64}", stamp[key]), key
        assert stamp["metric_version"] == METRIC_VERSION and stamp["predictions"]


def test_old_claims_are_not_passed_off_as_new(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted.parents[1], tmp_path / "all")
    run = tmp_path / "all" / "runs" / "planted"
    assert run_residency("judge", run)[0] == 0
    file = run / "predictions" / "test.own.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert run_residency("evaluate", run)[0] == 0 and run_residency("report", run)[0] == 0
    assert "judged on other predictions" in (run / "report.html").read_text()
