"""Head to head, through the installed command on real files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.compare_speed import MEGABYTES, SECONDS, plant_contest
from scipy.stats import t

from residency.evaluate.bootstrap import interval
from residency.evaluate.compare import adjust_holm, more_groups, two_sided_p
from residency.files import read_lines, write_lines
from residency.types import Prediction
from tests.made_run import make_run
from tests.run_command import run_residency


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 patients with eight answers each by three models, two of them equally good."""
    folder = tmp_path_factory.mktemp("contest")
    plant_contest(folder, 60, {"tuned": 0.85, "base": 0.5, "twin": 0.85})
    return folder


def test_a_better_model_wins_and_its_equal_ties(contest: Path) -> None:
    models = [contest / f"{name}.jsonl" for name in ("tuned", "base")]
    asked = ("compare", *models, "--data", contest / "dataset", "--out", contest / "out")
    code, out, _ = run_residency(*asked)
    assert code == 0
    assert "tuned against base: 8 won, 0 tied, 0 lost of 8 questions; overall tuned wins (+0.3" in out
    code, out, _ = run_residency(*asked, "--json")
    found = json.loads(out)
    assert code == 0 and found == json.loads((contest / "out" / "comparison.json").read_text())
    assert (found["items"], found["groups"], found["draws"], found["left_out"]) == (480, 60, 10_000, 0)
    overall = found["pairs"][0]["overall"]
    tuned, base = (read_lines(model, Prediction) for model in models)
    truth = {line["id"]: line["answer"] for line in map(json.loads, (contest / "dataset/samples.jsonl").open())}
    shares = [np.mean([truth[made.id] == made.parsed for made in model]) for model in (tuned, base)]
    assert overall["gain"] == pytest.approx(shares[0] - shares[1])
    assert overall["low"] < overall["gain"] < overall["high"]
    text = (contest / "out" / "comparison.md").read_text()
    assert "Holm" in text and "plain 95% CI" in text and found["contestants"][0]["hashes"]["samples"][:16] in text
    page = (contest / "out" / "comparison.html").read_text()
    assert "<svg" in page and not re.search(r"""(src|href)=["']http""", page)


def test_questions_that_are_not_decided_say_how_many_patients_would(contest: Path) -> None:
    noisy = contest / "noisy.jsonl"
    rng = np.random.default_rng(0)
    made = read_lines(contest / "tuned.jsonl", Prediction)
    write_lines(noisy, [m.model_copy(update={"parsed": "femur"}) if rng.random() < 0.06 else m for m in made])
    code, out, _ = run_residency(
        "compare", noisy, contest / "tuned.jsonl", contest / "twin.jsonl", "--data", contest / "dataset", "--out",
        contest / "ties", "--json",
    )  # fmt: skip
    assert code == 0
    lost, tied = json.loads(out)["pairs"]
    assert tied["b"] == "twin" and tied["won"] == tied["lost"] == 0
    rows = [row for row in lost["questions"] if row["outcome"] == "tie" and row["gain"] < 0]
    assert rows and all(row["more_groups"] > 0 and row["adjusted"] >= row["p"] for row in rows)
    assert "more groups" in (contest / "ties" / "comparison.md").read_text()


def test_runs_with_several_kinds_of_answers_are_compared(made_run: Path, tmp_path: Path) -> None:
    files = [made_run / "predictions" / f"test.{mode}.jsonl" for mode in ("own", "blind")]
    code, out, _ = run_residency("compare", *files, "--out", tmp_path / "out", "--json")
    found = json.loads(out)["pairs"][0]
    assert code == 0 and found["won"] >= 5
    assert {row["unit"] for row in found["questions"]} == {"", "ranks"}
    assert all(row["gain"] > 0 for row in found["questions"])  # errors are signed so that positive is better
    other = tmp_path / "all" / "runs" / "other"
    shutil.copytree(made_run, other)
    assert run_residency("compare", made_run, other, "--out", tmp_path / "same")[0] == 0
    same = json.loads((tmp_path / "same" / "comparison.json").read_text())
    assert [one["name"] for one in same["contestants"]] == ["made", "other"]
    assert same["pairs"][0]["tied"] == 8 and same["pairs"][0]["overall"]["p"] == 1


def test_what_makes_it_unfair_is_said(made_run: Path, tmp_path: Path) -> None:
    own = made_run / "predictions" / "test.own.jsonl"
    other = make_run(tmp_path / "other", seed=0)
    splits = tmp_path / "other" / "dataset" / "splits.json"
    folds = json.loads(splits.read_text())
    fold = folds["folds"][0]
    fold["train"], fold["test"] = fold["test"], fold["train"]
    splits.write_text(json.dumps(folds))
    file = other / "predictions" / "test.own.jsonl"
    write_lines(file, read_lines(file, Prediction)[:-5])
    code, out, _ = run_residency("compare", own, file, "--out", tmp_path / "out")
    assert code == 0
    assert "was trained or tuned on 20 of the groups compared" in out
    assert "different splits" in out and "5 samples were predicted by some of the models only" in out
    assert "Do not rely on the comparison" in (tmp_path / "out" / "comparison.html").read_text()


def test_wrong_calls_are_refused(contest: Path, made_run: Path, tmp_path: Path) -> None:
    assert run_residency("compare", contest / "tuned.jsonl")[0] == 2
    assert "with itself" in run_residency("compare", made_run, made_run)[2]
    code, _, err = run_residency("compare", contest / "tuned.jsonl", contest / "base.jsonl")
    assert code == 2 and "--data" in err
    assert "neither a run" in run_residency("compare", tmp_path / "none.jsonl", contest / "tuned.jsonl")[2]
    own = made_run / "predictions" / "test.own.jsonl"
    code, _, err = run_residency("compare", contest / "tuned.jsonl", own, "--data", contest / "dataset")
    assert code == 1 and "no such sample" in err


def test_p_follows_the_widened_interval() -> None:
    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 3, 13):
        drawn_R = rng.normal(shift, 1, 9999)
        low, _ = interval(drawn_R, 12)
        p = two_sided_p(drawn_R, 12)
        assert low is not None and p is not None
        assert (p < 0.05) == (low > 0)
    assert two_sided_p(rng.normal(2.0, 1, 200_000), 400) == pytest.approx(2 * t.sf(2.0, 399), rel=0.05)
    assert two_sided_p(np.zeros(99), 30) == 1
    assert two_sided_p(np.array([np.nan]), 30) is None


def test_holm_steps_down() -> None:
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R's p.adjust
    assert adjust_holm([0.5, None, 0.9]) == [1.0, None, 1.0]


def test_power_is_the_normal_formula() -> None:
    assert more_groups(0.1, 0.05, 50, 0.05) == 49  # 50 * ((1.960 + 0.8416) * 0.5) ** 2 = 98.1
    assert more_groups(0.5, 0.05, 50, 0.05) == 0
    assert more_groups(0.0, 0.05, 50, 0.05) is None


def test_20_000_answers_of_2_500_patients_take_two_seconds() -> None:
    done = subprocess.run([sys.executable, "benchmarks/compare_speed.py"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[0])
    assert (found["items"], found["groups"]) == (20_000, 2_500)
    assert found["processor_s"] < SECONDS  # of one core; the wall clock also counts who else is on the machine
    assert found["peak_mb"] < MEGABYTES
