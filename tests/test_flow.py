"""The whole flow through the installed command: each stage's files, words, exit codes; sources left as they were."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import pytest
import yaml

from residency import NOT_FOR_DIAGNOSIS
from tests.contract.tiny import build_tiny_nano

MODES = ("own", "base", "blind", "shuffled", "mute", "probe", "knn")
QUESTIONS = ["q1", "q3", "q5", "q6"]


@dataclass
class Flow:
    """One run of the flow: its folder, the sources' hashes before it, and what each command answered, by name."""

    folder: Path
    before: dict[str, str] = field(default_factory=dict)
    told: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def run(self, name: str, *arguments: str, code: int = 0) -> None:
        """Run the command as a person does, from the flow's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "residency", *arguments],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        self.told[name] = done

    def lines(self, path: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / path).read_text(encoding="utf-8").splitlines()]


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Do all of it once: a plain split from a messy sheet, then two folds of the same sources."""
    flow = Flow(tmp_path_factory.mktemp("flow"))
    build_tiny_nano(flow.folder / "tiny")
    recipe = {
        "name": "plain",
        "data": "dataset",
        "model": "tiny",
        "questions": QUESTIONS,
        "train": {"epochs": 1, "batch_size": 16},
        "predict": {"max_new_tokens": 16},
        "evaluate": {"draws": 200},
    }
    (flow.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    flow.run("phantom", "phantom", "studies", "--patients", "12", "--seed", "4", "--size", "96", "--messy")
    # the sources: sheet and images as phantom wrote them, and the questionnaire, as a user has it in a file
    shutil.copy(Path(__file__).parent.parent / "src/residency/questionnaires/fetal8.yaml", flow.folder / "studies")
    flow.before = hash_files(flow.folder / "studies")
    sources = ["--sheet", "studies/answers.xlsx", "--images", "studies/images"]
    sources += ["--questionnaire", "studies/fetal8.yaml", "--group-by", "column:Patient", "--skip-bad"]
    flow.run("ingest", "ingest", *sources, "--out", "dataset", "--ratios", "0.5,0.25,0.25")
    flow.run("audit", "audit", "dataset", "--json")
    flow.run("train", "train", "recipe.yaml", "--json")
    flow.run("evaluate", "evaluate", "runs/plain")
    flow.run("report", "report", "runs/plain")
    flow.run("again", "train", "recipe.yaml")
    flow.run("folds", "ingest", *sources, "--out", "folds", "--folds", "2", "--json")
    flow.run("train folds", "train", "recipe.yaml", "name=folded", "data=folds", "fold=all", "questions=[q3, q6]")
    flow.run("evaluate folds", "evaluate", "runs/folded", "--json")
    flow.run("report folds", "report", "runs/folded")
    return flow


def test_no_source_file_is_touched(flow: Flow) -> None:
    """Acceptance: SHA-256 of every source file before and after the whole flow, equal; no file added either."""
    assert {"answers.xlsx", "fetal8.yaml", "truth.jsonl"} <= set(flow.before)
    assert sum(name.endswith(".png") for name in flow.before) > 20
    assert hash_files(flow.folder / "studies") == flow.before


def test_every_file_of_the_design_is_there(flow: Flow) -> None:
    for path in (
        *("dataset/samples.jsonl", "dataset/questionnaire.yaml", "dataset/splits.json"),
        *("dataset/audit.json", "dataset/audit.html", "dataset/normalization.jsonl"),
        *("runs/plain/config.yaml", "runs/plain/preflight.json", "runs/plain/metrics.jsonl"),
        *("runs/plain/adapter/adapter_model.safetensors", "runs/plain/adapter/tokenizer.json"),
        *("runs/plain/adapter/processor_config.json", "runs/plain/adapter/README.md"),
        *("runs/plain/scores/scores.json", "runs/plain/report.html"),
        *(f"runs/plain/predictions/test.{mode}.jsonl" for mode in MODES),
        *(f"runs/folded/fold-{fold}/{name}" for fold in (0, 1) for name in ("config.yaml", "preflight.json")),
        *(f"runs/folded/fold-{fold}/predictions/test.{mode}.jsonl" for fold in (0, 1) for mode in MODES),
        *("runs/folded/scores/scores.json", "runs/folded/report.html"),
    ):
        assert (flow.folder / path).stat().st_size > 0, path
    assert list((flow.folder / "runs/plain/checkpoints").glob("checkpoint-*"))
    left_over = [path for path in flow.folder.rglob("*") if path.name.endswith(".part") or path.name.startswith(".")]
    assert not left_over


def test_each_sample_of_the_test_split_is_answered_in_every_way(flow: Flow) -> None:
    samples = {line["id"]: line for line in flow.lines("dataset/samples.jsonl")}
    test = set(json.loads((flow.folder / "dataset/splits.json").read_text())["folds"][0]["test"])
    expected = {
        id
        for id, line in samples.items()
        if line["group"] in test and line["question"] in QUESTIONS and line.get("suffix") is not None
    }
    assert expected
    for mode in MODES:
        lines = flow.lines(f"runs/plain/predictions/test.{mode}.jsonl")
        assert {line["id"] for line in lines} == expected, mode
        assert {line["as"] for line in lines} == {mode}


def test_json_is_all_there_is_on_standard_output(flow: Flow) -> None:
    for name in ("audit", "train", "folds", "evaluate folds"):
        json.loads(flow.told[name].stdout)
    assert json.loads(flow.told["audit"].stdout)["leaks"] == []
    assert "preflight" in flow.told["train"].stderr


def test_each_command_names_the_next(flow: Flow) -> None:
    assert "next: residency ingest" in flow.told["phantom"].stdout
    assert "next: residency train" in flow.told["ingest"].stdout
    assert "next: residency report runs/plain" in flow.told["evaluate"].stdout
    assert "next: residency evaluate runs/folded" in flow.told["train folds"].stdout


def test_training_again_does_nothing_and_says_so(flow: Flow) -> None:
    told = flow.told["again"].stderr
    assert "trained already" in told
    assert "predicted already" in told
    assert "preflight" not in told


def test_folds_are_pooled_over_all_groups(flow: Flow) -> None:
    examination = json.loads(flow.told["evaluate folds"].stdout)
    samples = flow.lines("folds/samples.jsonl")
    asked = [line for line in samples if line["question"] == "q3" and line.get("suffix") is not None]
    own = next(
        score
        for score in examination["scores"]
        if (score["of"], score["question"], score["subset"]) == ("own", "q3", "all")
    )
    assert examination["folds"] == 2
    assert own["n"] == len(asked)
    assert own["groups"] == len({line["group"] for line in asked})


def test_the_score_table_shows_every_question_and_comparison(flow: Flow) -> None:
    told = flow.told["evaluate"].stdout
    for word in (*QUESTIONS, "own", "base", "majority", "blind", "shuffled", "mute", "probe", "knn"):
        assert word in told, word


@pytest.mark.parametrize(
    "page", ["dataset/audit.html", "runs/plain/report.html", "runs/folded/report.html", "runs/plain/adapter/README.md"]
)
def test_pages_say_that_they_are_not_for_diagnosis_and_load_nothing(flow: Flow, page: str) -> None:
    text = unescape((flow.folder / page).read_text(encoding="utf-8"))
    assert "not for diagnosis" in text.lower()
    if page.endswith("report.html"):
        assert NOT_FOR_DIAGNOSIS in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_a_prediction_cut_off_in_mid_line_goes_on(flow: Flow) -> None:
    """A kill -9 leaves a `.part` whose last line is half written: its whole lines are kept, the rest is asked again."""
    path = flow.folder / "runs/plain/predictions/test.own.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = len(lines) // 2
    (path.parent / "test.own.jsonl.part").write_bytes(b"".join(lines[:kept]) + lines[kept][:40])
    path.unlink()
    flow.run("resumed", "predict", "runs/plain", "--as", "own", "--json")
    assert json.loads(flow.told["resumed"].stdout)["made"] == len(lines) - kept
    resumed = {line["id"]: line for line in flow.lines("runs/plain/predictions/test.own.jsonl")}
    assert len(resumed) == len(lines)
    for line in map(json.loads, lines):
        again = resumed[line["id"]]
        assert (again["prediction"], again.get("parsed")) == (line["prediction"], line.get("parsed"))
        assert again["confidence"] == pytest.approx(line["confidence"], abs=1e-3)
    assert not path.with_name("test.own.jsonl.part").exists()
