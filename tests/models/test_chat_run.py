"""The installed command on a chat model: trained, examined, read again with the same answers."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from residency.cli import main
from tests.contract.tiny_chat import build_tiny_smolvlm
from tests.discs import build_bench


def test_a_chat_model_is_trained_examined_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["residency", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0

    recipe = build_bench(tmp_path, images=12) / "recipe.yaml"
    build_tiny_smolvlm(tmp_path / "smol")
    named = yaml.safe_load(recipe.read_text()) | {"model": str(tmp_path / "smol"), "name": "smol"}
    named |= {"tune": {"lora": {"rank": 4}, "train": ["projector"]}, "out": str(tmp_path / "runs")}
    named["train"] |= {"epochs": 2, "learning_rate": 3e-3}
    recipe.write_text(yaml.safe_dump(named))
    run = tmp_path / "runs" / "smol"
    call("train", recipe)
    preflight = json.loads((run / "preflight.json").read_text())
    assert all(check["passed"] for check in preflight["checks"])
    assert preflight["labels"][0]["learned"].endswith("<end_of_utterance>")
    call("evaluate", run)
    assert (run / "adapter" / "chat_template.jinja").is_file()
    answered = (run / "predictions" / "test.own.jsonl").read_text()
    call("predict", run, "--as", "own", "--out", tmp_path / "again")
    assert _answers((tmp_path / "again" / "test.own.jsonl").read_text()) == _answers(answered)


def _answers(lines: str) -> list[tuple[str, str, dict[str, float]]]:
    read = [json.loads(line) for line in lines.splitlines()]
    return [(line["id"], line["prediction"], line["candidates"]) for line in read]
