"""The installed command on PaliGemma and LLaVA-NeXT: trained (places among the answers), examined, read again."""

import json
import re
from pathlib import Path

import pytest
import yaml

from residency.data.dataset import Dataset, write_dataset
from residency.types import Question
from tests.contract.tiny_causal import CAUSAL_BUILDERS
from tests.discs import QUESTIONNAIRE, build_bench, cut_groups, disc_samples
from tests.run_command import call_residency

PLACE = Question(id="place", type="text", wording="detect disc")


def write_places(folder: Path) -> None:
    """Add a question about places, answered as samples tell them: x before y, 1,000 bins."""
    asked = disc_samples(folder / "images", 12)
    left, right = "disc<loc_100><loc_300><loc_400><loc_700>", "disc<loc_600><loc_300><loc_900><loc_700>"
    told = [
        sample.model_copy(
            update={"id": f"{sample.id}-place", "prefix": PLACE.wording, "question": "place", "answer": text}
            | {"suffix": text}
        )
        for sample in asked
        if sample.question == "side"
        for text in [left if sample.suffix == "left side" else right]
    ]
    questionnaire = QUESTIONNAIRE.model_copy(update={"questions": (*QUESTIONNAIRE.questions, PLACE)})
    samples = (*asked, *told)
    write_dataset(Dataset(folder / "data", samples, questionnaire, cut_groups(samples)))


@pytest.mark.parametrize("name", ["llava_next", "paligemma"])
def test_a_run_trains_is_examined_and_answers_again(name: str, tmp_path: Path) -> None:
    recipe = build_bench(tmp_path, images=12) / "recipe.yaml"
    write_places(tmp_path)
    CAUSAL_BUILDERS[name](tmp_path / name)
    named = yaml.safe_load(recipe.read_text()) | {"model": str(tmp_path / name), "name": name}
    named |= {"tune": {"lora": {"parts": ["vision", "language"]}, "train": ["projector"]}}
    named |= {"out": str(tmp_path / "runs"), "predict": {"max_new_tokens": 24}}
    named["train"] |= {"epochs": 6, "learning_rate": 5e-3}
    recipe.write_text(yaml.safe_dump(named))
    run = tmp_path / "runs" / name
    assert call_residency("train", recipe) == 0
    preflight = json.loads((run / "preflight.json").read_text())
    assert {check["name"]: check["passed"] for check in preflight["checks"]} == dict.fromkeys(
        [check["name"] for check in preflight["checks"]], True
    )
    learned = {label["prompt"]: label["learned"] for label in preflight["labels"]}
    own_places = re.search(r"<loc\d{4}>", learned["detect disc"])
    assert bool(own_places) is (name == "paligemma")
    answered = _answers(run / "predictions" / "test.own.jsonl")
    if name == "paligemma":
        places = [text for id, text, _ in answered if id.endswith("-place")]
        assert any(re.search(r"<loc_\d+>", text) for text in places), places
        assert not any(re.search(r"<loc\d", text) for text in places)
    assert call_residency("evaluate", run) == 0
    assert call_residency("predict", run, "--as", "own", "--out", tmp_path / "again") == 0
    assert _answers(tmp_path / "again" / "test.own.jsonl") == answered


def _answers(path: Path) -> list[tuple[str, str, dict[str, float]]]:
    read = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["id"], line["prediction"], line.get("candidates", {})) for line in read]
