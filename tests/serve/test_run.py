"""A trained run served: its own questions, answered as in its exam, and not sure where a risk was promised."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from residency.files import read_lines
from residency.types import Prediction
from tests.discs import build_bench
from tests.run_command import call_residency, run_residency
from tests.serve.server import running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on discs, examined, with a promise that was asked for."""
    folder = build_bench(tmp_path_factory.mktemp("bench"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"out": str(folder / "runs")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert call_residency("train", folder / "recipe.yaml") == 0
    made = folder / "runs" / "discs"
    assert call_residency("predict", made, "--split", "val", "--as", "own") == 0
    assert call_residency("evaluate", made) == 0
    assert call_residency("abstain", made, "--risk", "0.3") == 0
    return made


def test_a_run_answers_as_it_was_examined_and_says_when_it_is_not_sure(run: Path) -> None:
    promised = run / "scores" / "abstention.json"
    told = json.loads(promised.read_text())
    promised.write_text(json.dumps(told | {"threshold": 0.9999, "reason": "promised"}))
    samples = {one["id"]: one for one in map(json.loads, (run.parent.parent / "data" / "samples.jsonl").open())}
    predictions = {line.id: line for line in read_lines(run / "predictions" / "test.own.jsonl", Prediction)}
    with running(run.parent, ["serve", "--model", str(run)], run / "reviews") as server:
        about = server.client.get("/v1/model").json()
        assert (about["model"], about["tuned"], about["asked"]) == ("discs", True, ["side", "size"])
        for image in sorted({samples[id]["image"] for id in predictions})[:3]:
            case = server.interpret(Path(image))
            answers = {answer["question"]: answer for answer in case["answers"]}
            examined = {
                samples[id]["question"]: line for id, line in predictions.items() if samples[id]["image"] == image
            }
            assert set(examined) <= set(answers)
            for question, line in examined.items():
                assert answers[question]["text"] == line.prediction
                assert answers[question]["threshold"] == 0.9999
                assert answers[question]["sure"] == (answers[question]["confidence"] >= 0.9999)
        assert (run / "reviews" / "reviews.sqlite").is_file()
        assert "residency_answers_total" in server.client.get("/metrics").text


def test_a_run_whose_dataset_is_gone_says_what_to_do(run: Path, tmp_path: Path) -> None:
    moved = run.parent.parent / "moved"
    (run.parent.parent / "data").rename(moved)
    try:
        done = run_residency("serve", "--model", run, "--store", tmp_path / "s", "--port", 0)
    finally:
        moved.rename(run.parent.parent / "data")
    assert done.code == 2 and "is not a dataset" in done.err


def test_a_missing_tokens_file_is_told_with_the_line_that_makes_it(tmp_path: Path) -> None:
    tokens = tmp_path / "ward 3" / "tokens.yaml"
    asked = ("serve", "--model", "nano", "--port", 0, "--store", tmp_path / "s", "--tokens", tokens)
    done = run_residency(*asked)
    assert done.code == 2 and f"there is no tokens file {tokens}" in done.err
    line = done.err.partition("do:")[2].strip()
    assert line == f"residency token NAME --role reviewer --tokens '{tokens}'"
    assert run_residency(*shlex.split(line)[1:]).code == 0
    assert tokens.is_file()


def test_what_cannot_be_served_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokens.yaml").write_text("Dr. Li: reviewer\n")
    for options, said in (
        (["--model", "nanoo"], "no model nanoo"),
        (["--model", "nano", "--host", "203.0.113.9"], "nobody can listen"),
        (["--model", "nano", "--tokens", tmp_path / "tokens.yaml"], "is no tokens file"),
        (["--model", "nano", "--questionnaire", "fetal9"], "no questionnaire fetal9"),
        (["--model", "nano", "--certificate", tmp_path / "ward.pem"], "no such certificate or key"),
        (["--model", "nano", "--key", tmp_path / "ward.key"], "a key and no certificate"),
        (["--model", "nano", "--store", tmp_path / "tokens.yaml"], "is a file"),
    ):
        done = run_residency("serve", "--port", 0, "--store", tmp_path / "s", *options)
        assert done.code == 2 and said in done.err, done.err
    assert not (tmp_path / "s").exists()
