"""All questions at once: the notation and what breaks it; a run that learns, answers and is examined so."""

import json
from pathlib import Path

import pytest
import yaml

from residency.data.together import compose_samples, parse_together, render_together
from residency.errors import UserError
from residency.types import Sample
from tests.discs import QUESTIONNAIRE, build_bench, disc_samples
from tests.run_command import call_residency

ANSWERS = {"q1": "femur 32 mm, skull", "q2": "a: b; c | d\nq1: no", "q10": "back\\slash\\n"}


def test_answers_come_back_whole_whatever_they_hold() -> None:
    text = render_together(ANSWERS)
    assert text.count("\n") == 2
    assert parse_together(text, list(ANSWERS)) == ANSWERS


@pytest.mark.parametrize(
    ("text", "whole", "read"),
    [
        ("q1: a\nq10: c", True, {"q1": "a", "q2": None, "q10": "c"}),
        ("q1: a\nq2: b\nq1: other\nq10: c", True, {"q1": None, "q2": "b", "q10": "c"}),
        ("q1: a\nand more\nq2: b\nq10: c", True, {"q1": None, "q2": "b", "q10": "c"}),
        ("q1: a\nq2: b\nq10: c and then it was c", False, {"q1": "a", "q2": "b", "q10": None}),
        ("q1: a\nq2: b\nq1", False, {"q1": "a", "q2": "b", "q10": None}),
        ("q7: a", True, {"q1": None, "q2": None, "q10": None}),
        ("", True, {"q1": None, "q2": None, "q10": None}),
    ],
    ids=["missing", "twice", "stray words", "cut", "cut at an id", "unknown id", "nothing"],
)
def test_a_part_that_is_not_there_whole_is_no_answer(text: str, whole: bool, read: dict[str, str | None]) -> None:
    assert parse_together(text, ["q1", "q2", "q10"], whole=whole) == read


def test_an_images_answered_questions_make_one_sample(tmp_path: Path) -> None:
    samples = disc_samples(tmp_path / "images", 2)
    unanswered = samples[3].model_copy(update={"suffix": None})
    second = samples[0].model_copy(update={"id": "again", "annotator": "B", "suffix": "left side"})
    sheets = compose_samples([*samples[:3][::-1], unanswered, second], QUESTIONNAIRE, with_answers=True)
    told = sorted((Path(sheet.sample.image).name, sheet.keys, sheet.sample.suffix) for sheet in sheets)
    assert told == [
        ("0.png", ("side",), "side: left side"),
        ("0.png", ("size", "side")[::-1], "side: right side\nsize: small disc"),
        ("1.png", ("side",), "side: left side"),
    ]
    (asked,) = compose_samples(samples[2:4], with_answers=False)
    assert asked.sample.suffix is None
    assert asked.sample.prefix.splitlines()[1:] == ["side: Which side is bright?", "size: How large is the disc?"]
    with pytest.raises(UserError, match="without a question id"):
        compose_samples([Sample(id="s", image="i", prefix="p", group="g")], with_answers=True)


def test_a_muted_question_is_answered_under_the_id_of_what_was_asked(tmp_path: Path) -> None:
    side, size = disc_samples(tmp_path / "images", 1)
    muted = side.model_copy(update={"prefix": size.prefix}), size.model_copy(update={"prefix": side.prefix})
    (sheet,) = compose_samples(muted, QUESTIONNAIRE, with_answers=False)
    assert dict(zip((member.question for member in sheet.members), sheet.keys, strict=True)) == {
        "side": "size",
        "size": "side",
    }


@pytest.mark.parametrize("name", ["nano", "llava"])
def test_a_run_learns_and_answers_all_questions_at_once(name: str, tmp_path: Path) -> None:
    from tests.contract.tiny_causal import build_tiny_llava

    recipe = build_bench(tmp_path, images=12) / "recipe.yaml"
    if name == "llava":
        build_tiny_llava(tmp_path / "model")
    named = yaml.safe_load(recipe.read_text()) | {"ask": "together", "out": str(tmp_path / "runs")}
    named |= {"predict": {"max_new_tokens": 24}}
    named["train"] |= {"epochs": 20, "learning_rate": 3e-3, "balance": "none"}
    recipe.write_text(yaml.safe_dump(named))
    assert call_residency("train", recipe) == 0
    run = tmp_path / "runs" / "discs"
    preflight = json.loads((run / "preflight.json").read_text())
    assert all(check["passed"] for check in preflight["checks"])
    assert "side: " in preflight["labels"][0]["learned"]
    assert "size: " in preflight["labels"][0]["learned"]
    lines = [json.loads(line) for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 3
    by_image: dict[str, set[str]] = {}
    for line in lines:
        assert "candidates" not in line
        assert line["parsed"] == line["prediction"]
        by_image.setdefault(line["id"].split("-")[0], set()).add(line["prompt_sha256"])
    assert {len(prompts) for prompts in by_image.values()} == {1}  # one prompt an image
    base = [json.loads(line) for line in (run / "predictions" / "test.base.jsonl").read_text().splitlines()]
    assert all(line["candidates"] for line in base)  # never taught the notation, it is asked each question alone
    assert call_residency("evaluate", run) == 0
    assert call_residency("predict", run, "--as", "own", "--out", tmp_path / "again") == 0
    again = (tmp_path / "again" / "test.own.jsonl").read_text().splitlines()
    assert [json.loads(line)["prediction"] for line in again] == [line["prediction"] for line in lines]
