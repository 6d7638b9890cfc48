"""What a model's name leads to: its family, its files, its counts, or an error that says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from residency.errors import UserError
from residency.models.chat import Chat
from residency.models.names import KNOWN, SHORT_NAMES, KnownModel, find_twin
from residency.models.registry import FAMILIES, open_model
from tests.contract.tiny_chat import CHAT_BUILDERS
from tests.models.shapes import published_config
from tests.run_command import run_residency

SHAPED = sorted({model.parameters: model.name for model in reversed(KNOWN.values())}.values())
"""One short name for each shape."""
RANK = 16


def count_anew(family: Any, model: nn.Module) -> tuple[int, int, int]:
    """Return all parameters, those of the language model's linear layers, and those the default recipe trains."""
    language, projector = (f"{family.parts[part]}." for part in ("language", "projector"))
    linear = [
        (name.rsplit(".", 1)[-1], module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(language)
    ]
    adapters = sum(
        RANK * (module.in_features + module.out_features)
        for ending, module in linear
        if ending in family.lora_targets["language"]
    )
    within = sum(p.numel() for name, p in model.named_parameters() if name.startswith(projector))
    return (
        sum(parameter.numel() for parameter in model.parameters()),
        sum(module.weight.numel() for _, module in linear),
        adapters + within,
    )


@pytest.mark.parametrize("name", SHAPED)
def test_counts_are_those_of_the_published_shape(name: str) -> None:
    known = KNOWN[name]
    family: Any
    if name == "nano":
        opened = open_model("nano")
        family, model = opened.family, opened.loaded.model
    else:
        config = published_config(name)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
        family = Chat(config) if known.family == "chat" else FAMILIES[type(model).__name__]
    assert family.name == known.family
    assert count_anew(family, model) == (known.parameters, known.linear, known.trained)


def test_memory_follows_from_the_counts() -> None:
    model = KnownModel(
        name="x", hub="a/x", family="chat", licence="MIT", terms=False, parameters=2**30, linear=2**29, trained=2**24
    )
    assert model.tune_32_gib == 4 + 0.25
    assert model.tune_16_gib == 2 + 0.25
    assert model.tune_4_gib == round(0.516 / 2 + 1 + 0.25, 2)


@pytest.mark.parametrize("name", ["qwen2.5-vl", "gemma3"])
def test_a_family_is_found_by_model_type(name: str, tmp_path: Path) -> None:
    CHAT_BUILDERS[name](tmp_path)
    opened = open_model(str(tmp_path))
    assert opened.family.name == "chat"
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(UserError, match="no family covers") as told:
        open_model(str(tmp_path))
    for word in ("GPT2LMHeadModel", "florence2", "paligemma", "llava", "chat"):
        assert word in str(told.value)


def test_an_architecture_built_otherwise_is_refused_by_name(tmp_path: Path) -> None:
    """mllama reads its image by cross-attention: transformers' auto class has it, the family does not cover it."""
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mllama", "architectures": ["MllamaForConditionalGeneration"]})
    )
    with pytest.raises(UserError, match="does not cover mllama: it lacks images seen before") as told:
        open_model(str(tmp_path))
    assert "qwen3_vl" in str(told.value)


def test_a_checkpoint_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    CHAT_BUILDERS["gemma3"](tmp_path)
    (tmp_path / "chat_template.json").unlink()
    with pytest.raises(UserError, match="no chat template"):
        open_model(str(tmp_path))


def test_other_layouts_are_answered_with_their_twin() -> None:
    for name, twin in (
        ("liuhaotian/llava-v1.5-13b", "llava-hf/llava-1.5-13b-hf"),
        ("liuhaotian/llava-v1.5-7b", "llava-hf/llava-1.5-7b-hf"),
        ("microsoft/Florence-2-large-ft", "florence-community/Florence-2-large-ft"),
    ):
        with pytest.raises(UserError, match=f"model: {twin} "):
            open_model(name)
    assert find_twin("llava-hf/llava-1.5-7b-hf") is None
    assert all(find_twin(hub) is None for hub in SHORT_NAMES.values())


def test_offline_says_how_to_obtain_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name, words in (
        ("smolvlm-256m", ["HF_HUB_OFFLINE=1", "hf download HuggingFaceTB/SmolVLM-256M-Instruct --local-dir"]),
        ("medgemma-4b", ["accept its terms on https://huggingface.co/google/medgemma-4b-it"]),
        ("smolvlm-265m", ["smolvlm-256m", "residency models"]),  # misspelt: the hub is not asked
    ):
        with pytest.raises(UserError) as told:
            open_model(name)
        for word in words:
            assert word in str(told.value)


def test_the_command_lists_every_model() -> None:
    done = run_residency("models", "--json")
    assert done.code == 0, done.err
    listed = json.loads(done.out)
    assert [model["name"] for model in listed] == list(KNOWN)
    assert next(model for model in listed if model["name"] == "medgemma-4b")["terms"] is True
    assert all(model["tune_4_gib"] <= model["tune_16_gib"] <= model["tune_32_gib"] for model in listed)
    told = run_residency("models").out
    assert all(name in told for name in KNOWN)
    assert "Activations come on top" in told
