"""Verbose answers to closed questions are mapped to what they assert, or to nothing."""

import json
from pathlib import Path

import pytest

from residency.data.dataset import Dataset, write_dataset
from residency.evaluate.assertion import read_assertion
from residency.files import write_lines
from residency.types import AnswerSpec, Option, Prediction, Question, Questionnaire, Sample
from tests.run_command import run_residency


def closed(*names: str) -> AnswerSpec:
    return AnswerSpec(id="q", type="choice", options=tuple(Option(name=name) for name in names))


PLANE, NORMAL, POLAR = (
    closed("standard NT", "non-standard NT", "femur", "abdomen"),
    closed("normal", "abnormal"),
    closed("yes", "no"),
)
TONGUE = closed("淡红舌", "红舌", "紫舌")


@pytest.mark.parametrize(
    ("spec", "said", "asked", "option"),
    [
        (PLANE, "The image shows a non-standard NT plane.", "", "non-standard NT"),
        (PLANE, "This is not the femur but the abdomen.", "", "abdomen"),
        (PLANE, "It is not a standard NT, it is the femur", "", "femur"),
        (PLANE, "Femur is excluded; the abdomen is seen.", "", "abdomen"),
        (PLANE, "Femur or abdomen? Final answer: abdomen", "", "abdomen"),
        (PLANE, "The abdomen rather than the femur.", "", "abdomen"),
        (NORMAL, "The scan isn't normal.", "", "abnormal"),
        (NORMAL, "There are no abnormal findings.", "", "normal"),
        (NORMAL, "There is no doubt that it is normal.", "", "normal"),
        (POLAR, "No pneumothorax is seen.", "Is there a pneumothorax?", "no"),
        (POLAR, "No, it is not.", "Is the heart normal?", "no"),
        (POLAR, "There is a small pneumothorax on the left.", "Is there a pneumothorax?", "yes"),
        (POLAR, "No abnormal heart.", "Is the heart normal?", "yes"),
        (POLAR, "The heart is abnormal.", "Is the heart normal?", "no"),
        (TONGUE, "舌质为淡红舌，不是红舌", "", "淡红舌"),
        (TONGUE, "非紫舌，为红舌", "", "红舌"),
    ],
)
def test_what_is_asserted_is_the_answer(spec: AnswerSpec, said: str, asked: str, option: str) -> None:
    assert read_assertion(spec, said, asked).option == option
    assert not read_assertion(spec, said, asked).unclear


@pytest.mark.parametrize(
    ("spec", "said", "asked"),
    [
        (PLANE, "Either femur or abdomen.", ""),
        (PLANE, "It cannot be determined whether this is the femur.", ""),
        (NORMAL, "Normal in part, abnormal in part.", ""),
        (POLAR, "I am not sure.", "Is the heart normal?"),
        (TONGUE, "无法判断", ""),
    ],
)
def test_what_is_not_settled_is_unclear(spec: AnswerSpec, said: str, asked: str) -> None:
    assert read_assertion(spec, said, asked).option is None
    assert read_assertion(spec, said, asked).unclear


@pytest.mark.parametrize(
    ("spec", "said"),
    [(PLANE, "A picture of a fetus."), (PLANE, "It is not the femur."), (POLAR, "The lungs are clear.")],
)
def test_nothing_is_guessed(spec: AnswerSpec, said: str) -> None:
    found = read_assertion(spec, said, "Is there a pneumothorax?")
    assert (found.option, found.unclear) == (None, False)


def test_evaluate_reads_old_predictions_anew_and_counts_the_unclear(tmp_path: Path) -> None:
    question = Question(id="q1", type="choice", wording="Which plane?", options=PLANE.options)
    said = ["This is not the femur but the abdomen.", "Either femur or abdomen.", "A picture.", "abdomen"]
    samples = [
        Sample(
            id=str(n),
            image="a.png",
            prefix="Which plane?",
            suffix="abdomen",
            answer="abdomen",
            question="q1",
            group=str(n),
        )
        for n in range(40)
    ]
    data = Dataset(tmp_path / "data", tuple(samples), Questionnaire(name="planes", questions=(question,)), None)
    write_dataset(data)
    made = [
        Prediction(id=str(n), model="m", mode="own", split="all", prompt_sha256="0", prediction=said[n % 4],
                   parsed="abdomen" if n % 4 == 3 else None)
        for n in range(40)
    ]  # fmt: skip
    write_lines(tmp_path / "all.own.jsonl", made)
    code, out, _ = run_residency("evaluate", tmp_path / "all.own.jsonl", "--data", tmp_path / "data", "--json")
    assert code == 0
    accuracy = next(s for s in json.loads(out)["scores"] if (s["of"], s["metric"]) == ("own", "accuracy"))
    assert (accuracy["value"], accuracy["unparsed"], accuracy["unclear"]) == (0.5, 20, 10)
