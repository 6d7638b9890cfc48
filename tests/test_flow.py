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

from residency import NOT_FOR_DIAGNOSIS
from tests.contract.tiny import build_tiny_nano
from tests.documents import ROOT, command_blocks
from tests.serve.server import running

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
            timeout=900,
        )
        assert done.returncode == code, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        self.told[name] = done

    def serve(self, *arguments: str) -> None:
        """Start the server, have it read one picture, and stop it."""
        with running(self.folder, [*arguments], self.folder) as server:
            server.interpret(next((self.folder / "studies" / "images").rglob("*.png")))

    def lines(self, path: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / path).read_text(encoding="utf-8").splitlines()]


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


QUICK = ["model=tiny", "train.epochs=1", "train.batch_size=16", "evaluate.draws=200", "predict.max_new_tokens=16"]
SMALLER = {
    "0 phantom": ["--patients", "12", "--seed", "4", "--size", "96", "--messy"],
    "0 ingest": ["--questionnaire", "studies/fetal8.yaml", "--skip-bad", "--ratios", "0.5,0.25,0.25"],
    "0 audit": ["--json"],
    "0 train": [*QUICK, f"questions=[{', '.join(QUESTIONS)}]", "--json"],
    "1 ingest": ["--questionnaire", "studies/fetal8.yaml", "--skip-bad", "--folds", "2", "--json"],
    "1 train": [*QUICK, "questions=[q3, q6]"],
    "1 evaluate": ["--json"],
}
"""What is added to the README's commands, by block: a tiny model, few patients, one epoch, defects in the sheet."""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Give every command of the README once, in order, smaller; and the training command twice."""
    flow = Flow(tmp_path_factory.mktemp("flow"))
    build_tiny_nano(flow.folder / "tiny")
    shutil.copytree(ROOT / "recipes", flow.folder / "recipes")
    blocks = [block for block in command_blocks(ROOT / "README.md") if block]
    for number, block in enumerate(blocks):
        for command in block:
            name = f"{number} {command[1]}"
            if command[1] == "serve":
                flow.serve(*command[1:])
                continue
            flow.run(name, *command[1:], *SMALLER.get(name, []))
            if name == "0 phantom":  # from here on these are a user's sources, with a questionnaire of their own
                shutil.copy(ROOT / "src" / "residency" / "questionnaires" / "fetal8.yaml", flow.folder / "studies")
                flow.before = hash_files(flow.folder / "studies")
            if name == "0 train":
                flow.run("again", *command[1:], *SMALLER[name][:-1])
            if name == "1 ingest":
                shutil.copytree(flow.folder / "folds", flow.folder / "other")
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
        *("runs/fetal8-nano/config.yaml", "runs/fetal8-nano/preflight.json", "runs/fetal8-nano/metrics.jsonl"),
        *("runs/fetal8-nano/adapter/adapter_model.safetensors", "runs/fetal8-nano/adapter/tokenizer.json"),
        *("runs/fetal8-nano/adapter/processor_config.json", "runs/fetal8-nano/adapter/README.md"),
        *("runs/fetal8-nano/scores/scores.json", "runs/fetal8-nano/report.html"),
        *(f"runs/fetal8-nano/predictions/test.{mode}.jsonl" for mode in MODES),
        *(f"runs/folded/fold-{fold}/{name}" for fold in (0, 1) for name in ("config.yaml", "preflight.json")),
        *(f"runs/folded/fold-{fold}/predictions/test.{mode}.jsonl" for fold in (0, 1) for mode in MODES),
        *("runs/folded/scores/scores.json", "runs/folded/report.html"),
    ):
        assert (flow.folder / path).stat().st_size > 0, path
    assert list((flow.folder / "runs/fetal8-nano/checkpoints").glob("checkpoint-*"))
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
        lines = flow.lines(f"runs/fetal8-nano/predictions/test.{mode}.jsonl")
        assert {line["id"] for line in lines} == expected, mode
        assert {line["as"] for line in lines} == {mode}


def test_json_is_all_there_is_on_standard_output(flow: Flow) -> None:
    for name in ("0 audit", "0 train", "1 ingest", "1 evaluate"):
        json.loads(flow.told[name].stdout)
    assert json.loads(flow.told["0 audit"].stdout)["leaks"] == []
    assert "preflight" in flow.told["0 train"].stderr


def test_each_command_names_the_next(flow: Flow) -> None:
    assert "next: residency ingest" in flow.told["0 phantom"].stdout
    assert "next: residency train" in flow.told["0 ingest"].stdout
    assert "next: residency report runs/fetal8-nano" in flow.told["0 evaluate"].stdout
    assert "next: residency evaluate runs/folded" in flow.told["1 train"].stdout


def test_training_again_does_nothing_and_says_so(flow: Flow) -> None:
    told = flow.told["again"].stderr
    assert "trained already" in told
    assert "predicted already" in told
    assert "preflight" not in told


def test_folds_are_pooled_over_all_groups(flow: Flow) -> None:
    examination = json.loads(flow.told["1 evaluate"].stdout)
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


def test_another_dataset_is_answered_beside_the_runs_own(flow: Flow) -> None:
    own = flow.folder / "runs/fetal8-nano/predictions"
    assert {line["id"] for line in flow.lines("runs/fetal8-nano/predictions/other/test.own.jsonl")}
    assert (own / "other" / "scores" / "scores.json").is_file()
    assert (flow.folder / "runs/fetal8-nano/scores/scores.json").is_file()


def test_the_score_table_shows_every_question_and_comparison(flow: Flow) -> None:
    told = flow.told["0 evaluate"].stdout
    for word in (*QUESTIONS, "own", "base", "majority", "blind", "shuffled", "mute", "probe", "knn"):
        assert word in told, word


@pytest.mark.parametrize(
    "page",
    [
        "dataset/audit.html",
        "runs/fetal8-nano/report.html",
        "runs/folded/report.html",
        "runs/fetal8-nano/adapter/README.md",
    ],
)
def test_pages_say_that_they_are_not_for_diagnosis_and_load_nothing(flow: Flow, page: str) -> None:
    text = unescape((flow.folder / page).read_text(encoding="utf-8"))
    assert "not for diagnosis" in text.lower()
    if page.endswith("report.html"):
        assert NOT_FOR_DIAGNOSIS in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_a_prediction_cut_off_in_mid_line_goes_on(flow: Flow) -> None:
    """A kill -9 leaves a `.part` whose last line is half written: its whole lines are kept, the rest is asked again."""
    path = flow.folder / "runs/fetal8-nano/predictions/test.own.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = len(lines) // 2
    (path.parent / "test.own.jsonl.part").write_bytes(b"".join(lines[:kept]) + lines[kept][:40])
    path.unlink()
    flow.run("resumed", "predict", "runs/fetal8-nano", "--as", "own", "--json")
    assert json.loads(flow.told["resumed"].stdout)["made"] == len(lines) - kept
    resumed = {line["id"]: line for line in flow.lines("runs/fetal8-nano/predictions/test.own.jsonl")}
    assert len(resumed) == len(lines)
    for line in map(json.loads, lines):
        again = resumed[line["id"]]
        assert (again["prediction"], again.get("parsed")) == (line["prediction"], line.get("parsed"))
        assert again["confidence"] == pytest.approx(line["confidence"], abs=1e-3)
    assert not path.with_name("test.own.jsonl.part").exists()
