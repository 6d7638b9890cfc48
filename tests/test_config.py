"""Recipes: the shipped ones are valid, wrong ones are refused in words that help."""

from pathlib import Path

import pytest
import yaml

from residency.demo import TRAIN, TUNE
from residency.errors import UserError
from residency.questionnaire import dump_questionnaire, load_questionnaire, read_questionnaire
from residency.recipe import dump_recipe, known_keys, load_recipe

ROOT = Path(__file__).parent.parent
QUESTIONNAIRES = sorted((ROOT / "recipes").glob("*.questionnaire.yaml"))
RECIPES = sorted(set((ROOT / "recipes").glob("*.yaml")) - set(QUESTIONNAIRES))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_round_trips(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    copy = tmp_path / "config.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(copy) == recipe


@pytest.mark.parametrize("path", QUESTIONNAIRES, ids=lambda path: path.stem)
def test_every_questionnaire_beside_a_recipe_is_valid_and_round_trips(path: Path) -> None:
    questionnaire = load_questionnaire(str(path))
    assert read_questionnaire(dump_questionnaire(questionnaire), path.name) == questionnaire


def test_the_demo_trains_by_the_shipped_recipe() -> None:
    recipe = load_recipe(ROOT / "recipes" / "fetal8-nano.yaml")
    assert (recipe.tune, recipe.train) == (TUNE, TRAIN)


def test_overrides_reach_nested_keys_and_templates_stay_text() -> None:
    recipe = load_recipe(RECIPES[0], ["train.epochs=9", "tune.lora=null", "prompt={prefix} {spacing_mm}", "fold=all"])
    assert recipe.train.epochs == 9
    assert recipe.tune.lora is None
    assert recipe.prompt == "{prefix} {spacing_mm}"
    assert recipe.fold == "all"


def test_every_fault_is_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\ndata: d\ntrain: {epoch: 3, batch_size: 0}\nmodle: nano\n")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert "train.epoch" in str(caught.value)
    assert "train.epochs" in str(caught.value)
    assert "train.batch_size" in str(caught.value)
    assert "modle" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", ""])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        load_recipe(path)


def test_a_public_florence_script_is_answered_with_the_equivalent_recipe(tmp_path: Path) -> None:
    path = tmp_path / "florence.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "train_json": "train.jsonl",
                "image_dir": "pictures",
                "model_name": "florence-community/Florence-2-base",
                "lora_target_modules": ["q_proj", "v_proj"],
                "num_epochs": 7,
                "freeze_vision_tower": True,
                "mystery": 1,
            }
        )
    )
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    equivalent = caught.value.do.split(":\n\n", 1)[1]
    assert "--images pictures" in equivalent
    assert "mystery" in equivalent
    translated = tmp_path / "translated.yaml"
    translated.write_text(equivalent)
    recipe = load_recipe(translated)
    assert recipe.model == "florence-community/Florence-2-base"
    assert recipe.tune.lora.targets == ("q_proj", "v_proj")
    assert recipe.train.epochs == 7
    assert recipe.tune.train == ("projector",)


def test_known_keys_hold_sections_and_leaves() -> None:
    assert {"train.epochs", "tune.lora.rank", "predict.max_new_tokens"} <= set(known_keys())
