"""The installed command on a chat model: trained, examined, read again with the same answers."""

import json
from pathlib import Path

import yaml

from tests.contract.tiny_chat import build_tiny_smolvlm
from tests.discs import build_bench
from tests.run_command import call_residency


def test_a_chat_model_is_trained_examined_and_read_again(tmp_path: Path) -> None:
    recipe = build_bench(tmp_path, images=12) / "recipe.yaml"
    build_tiny_smolvlm(tmp_path / "smol")
    named = yaml.safe_load(recipe.read_text()) | {"model": str(tmp_path / "smol"), "name": "smol"}
    named |= {"tune": {"lora": {"rank": 4}, "train": ["projector"]}, "out": str(tmp_path / "runs")}
    named["train"] |= {"epochs": 2, "learning_rate": 3e-3}
    recipe.write_text(yaml.safe_dump(named))
    run = tmp_path / "runs" / "smol"
    assert call_residency("train", recipe) == 0
    preflight = json.loads((run / "preflight.json").read_text())
    assert all(check["passed"] for check in preflight["checks"])
    assert preflight["labels"][0]["learned"].endswith("<end_of_utterance>")
    assert call_residency("evaluate", run) == 0
    assert (run / "adapter" / "chat_template.jinja").is_file()
    answered = (run / "predictions" / "test.own.jsonl").read_text()
    assert call_residency("predict", run, "--as", "own", "--out", tmp_path / "again") == 0
    assert _answers((tmp_path / "again" / "test.own.jsonl").read_text()) == _answers(answered)


def _answers(lines: str) -> list[tuple[str, str, dict[str, float]]]:
    read = [json.loads(line) for line in lines.splitlines()]
    return [(line["id"], line["prediction"], line["candidates"]) for line in read]
