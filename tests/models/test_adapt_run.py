"""Each tuning method through the installed command: a real sheet, trained, and answered again by a second process."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from residency.models.family import PARTS
from residency.questionnaire import dump_questionnaire
from tests.contract.tiny import build_tiny_nano, draw_discs
from tests.contract.tiny_causal import build_tiny_llava
from tests.curves import read_curve
from tests.data.make import write_book
from tests.discs import QUESTIONNAIRE

LORA = {"rank": 4}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("llava", {"lora": LORA | {"parts": ["vision", "projector", "language"]}, "train": []}),
    "rslora": ("llava", {"lora": LORA | {"rslora": True}, "train": ["vision", "projector"], "weights": "bf16"}),
    "dora": ("llava", {"lora": LORA | {"dora": True}}),
    "qlora": ("llava", {"lora": LORA, "quantize": "nf4"}),
    "soft": ("llava", {"lora": None, "train": [], "soft_prompt": {"tokens": 4}}),
    "soft-nano": ("nano", {"lora": None, "train": [], "soft_prompt": {"tokens": 4}}),
    "selective": ("nano", {"lora": None, "train": ["language.decoder.layers.-1:", "projector"]}),
    "full": ("nano", {"lora": None, "train": ["vision", "projector", "language"]}),
}
RESUMED = ("rslora", "qlora", "soft")
EACH = """
import json, sys
from contextlib import redirect_stderr
from pathlib import Path
from residency.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["residency", *arguments]
    with Path(f"{arguments[0]}.{Path(arguments[1]).stem}.txt").open("w") as told, redirect_stderr(told):
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, arguments
"""
"""Gives several commands in one process: what takes long is the start."""
INGEST = ["ingest", "--sheet", "answers.xlsx", "--images", "images", "--group-by", "column:Patient"]
INGEST += ["--questionnaire", "discs.yaml", "--out", "data"]


@dataclass(frozen=True)
class Bench:
    folder: Path

    def call(self, commands: list[list[str]]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        script = [sys.executable, "-c", EACH, json.dumps(commands)]
        done = subprocess.run(script, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name

    def said(self, name: str) -> str:
        return (self.folder / f"train.{name}.txt").read_text()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Ingest a sheet, train each method on it, and answer the test split again in another process."""
    bench = Bench(tmp_path_factory.mktemp("bench"))
    write_sheet(bench.folder)
    build_tiny_llava(bench.folder / "llava")
    build_tiny_nano(bench.folder / "nano")
    for name, (model, tune) in METHODS.items():
        recipe: dict[str, Any] = {"name": name, "data": "data", "model": model, "tune": tune}
        recipe |= {
            "predict": {"max_new_tokens": 8},
            "train": {"epochs": 1, "batch_size": 4, "learning_rate": 5e-3, "save_steps": 2},
        }
        (bench.folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    bench.call([INGEST, *(["train", f"{name}.yaml"] for name in METHODS)])
    for name in RESUMED:
        cut_off(bench.run(name))
    again = [["train", f"{name}.yaml"] for name in RESUMED]
    bench.call(again + [["predict", f"runs/{name}", "--as", "own", "--out", f"again/{name}"] for name in METHODS])
    return bench


def write_sheet(folder: Path) -> None:
    """Write 8 discs' answers as a clinician would, one patient an image."""
    samples = draw_discs(folder / "images", images=8)
    wordings = [question.wording for question in QUESTIONNAIRE.questions]
    answers: dict[str, dict[str, str]] = {}
    for sample in samples:
        answers.setdefault(Path(sample.image).name, {})[sample.prefix] = sample.suffix or ""
    rows = [(name, f"P{name}", *(told[wording] for wording in wordings)) for name, told in answers.items()]
    write_book(folder / "answers.xlsx", {"Annotations": [("Image", "Patient", *wordings), *rows]})
    (folder / "discs.yaml").write_text(dump_questionnaire(QUESTIONNAIRE))


def cut_off(run: Path) -> None:
    """Leave of a finished run what one killed after its last step but one would have left; keep the rest beside it."""
    kept = run.parent.parent / "kept" / run.name
    kept.mkdir(parents=True)
    for name in ("adapter", "predictions", "metrics.jsonl"):
        (run / name).rename(kept / name)
    shutil.rmtree(run / "checkpoints" / "checkpoint-5")


def answers_in(path: Path) -> dict[str, tuple[str, dict[str, float]]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["id"]: (line["prediction"], line["candidates"]) for line in lines}


@pytest.mark.parametrize("name", METHODS)
def test_a_second_process_answers_as_the_run_did(bench: Bench, name: str) -> None:
    own = answers_in(bench.run(name) / "predictions" / "test.own.jsonl")
    assert own
    assert answers_in(bench.folder / "again" / name / "test.own.jsonl") == own
    assert answers_in(bench.run(name) / "predictions" / "test.base.jsonl") != own


@pytest.mark.parametrize("name", METHODS)
def test_the_preflight_holds_and_what_trains_is_told_by_part(bench: Bench, name: str) -> None:
    preflight = json.loads((bench.run(name) / "preflight.json").read_text())
    assert all(check["passed"] for check in preflight["checks"])
    trained = {part for part, counts in preflight["parameters"]["by_part"].items() if counts["trainable"]}
    lines = [line.split() for line in bench.said(name).splitlines() if line.startswith("  plan ")]
    lines = [words for words in lines if words[1] in PARTS]
    assert {words[1] for words in lines if words[-1] != "frozen"} == trained


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_cut_off_goes_on_as_if_it_had_not_been(bench: Bench, name: str) -> None:
    kept = bench.folder / "kept" / name
    losses = [read_curve(at, "loss") for at in (kept, bench.run(name))]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert len(losses[0]) == 5
    assert "goes on from checkpoint-4" in bench.said(name)
    before, after = (load_file(at / "adapter" / "adapter_model.safetensors") for at in (kept, bench.run(name)))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


def test_the_plan_names_the_method(bench: Bench) -> None:
    told = {name: " ".join(bench.said(name).split()) for name in METHODS}
    assert "plan language (fp32): LoRA of rank 4, scale 8, on 14 linear layers" in told["lora"]
    assert "rsLoRA of rank 4, scale 16," in told["rslora"]
    assert "DoRA of rank 4" in told["dora"]
    assert "plan language (nf4 linear layers, fp32): LoRA of rank 4" in told["qlora"]
    assert "plan vision (bf16): in full: all of it" in told["rslora"]
    assert "plan language (fp32): 4 learned vectors before the prompt" in told["soft"]
    assert "plan language (fp32): in full: decoder.layers.1" in told["selective"]


def test_adapters_lie_in_pefts_own_files(bench: Bench) -> None:
    weights = {name: load_file(bench.run(name) / "adapter" / "adapter_model.safetensors") for name in METHODS}
    settings = {name: json.loads((bench.run(name) / "adapter" / "adapter_config.json").read_text()) for name in METHODS}
    assert settings["rslora"]["use_rslora"]
    assert settings["dora"]["use_dora"]
    assert any(name.endswith("lora_magnitude_vector") for name in weights["dora"])
    assert settings["soft"]["peft_type"] == "PROMPT_TUNING"
    assert weights["soft"]["prompt_embeddings"].shape == (4, 64)
    assert not [name for name, tensor in weights["rslora"].items() if tensor.dtype != torch.float32]
    assert all(".decoder.layers.1." in name for name in weights["selective"] if "language_model" in name)
    assert any(".decoder.layers.1." in name for name in weights["selective"])
