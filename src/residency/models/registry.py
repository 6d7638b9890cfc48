"""From a model's name to its weights in memory: a short name, folder, hub name or run in, family and model out."""

import json
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import is_offline_mode
from safetensors import SafetensorError
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import cached_file

from residency.config import Recipe, Speed, Tune
from residency.errors import UserError
from residency.models.adapt import attach_adapter
from residency.models.chat import read_chat
from residency.models.family import Family, Loaded, ModelSpec
from residency.models.florence2 import Florence2
from residency.models.llava import Llava, LlavaNext
from residency.models.names import KNOWN, SHORT_NAMES, find_twin
from residency.models.nano.family import Nano
from residency.models.paligemma import PaliGemma
from residency.recipe import load_recipe

FAMILIES: dict[str, Family] = {
    "Florence2ForConditionalGeneration": Florence2(),
    "NanoForConditionalGeneration": Nano(),
    "PaliGemmaForConditionalGeneration": PaliGemma(),
    "LlavaForConditionalGeneration": Llava(),
    "LlavaNextForConditionalGeneration": LlavaNext(),
}
"""Each family by the name of its model class, as `config.json` gives it."""

FAMILY_OF_TYPE: dict[str, str] = {
    "florence2": "Florence2ForConditionalGeneration",
    "paligemma": "PaliGemmaForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
    "llava_next": "LlavaNextForConditionalGeneration",
}
"""The model class by `model_type`, for a `config.json` that names no class of ours."""

DAMAGED = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError)
"""What the readers of weights and tokenizers raise over files that are damaged, do not belong together, or ask for a
package that is not here."""


@dataclass(frozen=True)
class Opened:
    """A family with one of its models in memory; `name` is what the user called it."""

    name: str
    family: Family
    loaded: Loaded


def describe_prefix(opened: Opened) -> str:
    """Say whether the questions about an image share its reading."""
    family, speed = opened.family, opened.loaded.spec.speed
    if family.image_prefix == "separate":
        return f"separate: {family.name} reads the image again for each question, the tower sees it once"
    if not speed.share_image:
        return "separate: speed.share_image is off"
    if family.image_prefix == "answering":
        return "shared in answering: the image is read once for all its questions; training reads it for each"
    return "shared: the image is read once for all its questions"


def open_model(
    name: str,
    *,
    prompt: str = "{prefix}",
    system: str = "",
    shots_as_text: bool = False,
    image_size: int | None = None,
    tune: Tune | None = None,
    speed: Speed = Speed(),  # noqa: B008 (frozen)
) -> Opened:
    """Load a base model by short name, folder, or hub name, its weights as `tune` wants them held (fp32 without).

    Raises:
        UserError: no such model, an architecture that no family covers, or weights that are not safetensors.
    """
    source = SHORT_NAMES.get(name, name)
    if (twin := find_twin(source)) and not Path(source).is_dir():
        raise UserError(f"{name} {twin[1]}, which is not read here", do=f"model: {twin[0]}  (the same weights)")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        family = find_family(name)
        held = ModelSpec(source, prompt, image_size, system=system, shots_as_text=shots_as_text, speed=speed)
        if tune:
            held = replace(held, weights=tune.weights, quantized=tune.quantize_parts if tune.quantize else ())
        loaded = family.load(held)
    except DAMAGED as error:
        raise UserError(
            f"the model {name} cannot be loaded",
            found=_first_line(error),
            do="fetch it again; it needs config.json, safetensors weights, tokenizer and processor",
        ) from error
    loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return Opened(name, family, loaded)


def open_base(recipe: Recipe, source: str | None = None, tune: Tune | None = None) -> Opened:
    """Load a recipe's base model, asked as the recipe says; `source` and `tune` replace the recipe's own.

    Raises:
        UserError: as `open_model`.
    """
    return open_model(
        source or recipe.model,
        prompt=recipe.prompt,
        system=recipe.system,
        shots_as_text=recipe.shots.shown == "text",
        image_size=recipe.image_size,
        tune=tune or recipe.tune,
        speed=recipe.speed,
    )


def ask_as(loaded: Loaded, recipe: Recipe) -> None:
    """Let a model in memory be asked as another recipe says."""
    as_text = recipe.shots.shown == "text"
    loaded.spec = replace(loaded.spec, prompt=recipe.prompt, system=recipe.system, shots_as_text=as_text)


def read_run(run: Path) -> Recipe:
    """Return the recipe of a trained run; nothing is loaded.

    Raises:
        UserError: the folder is no run, or its training has not ended.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run", found="no config.yaml", do="residency train RECIPE makes one")
    if not (run / "adapter" / "adapter_config.json").is_file():
        raise UserError(f"{run} has no adapter yet", do="let `residency train` end; the same command goes on")
    return load_recipe(run / "config.yaml")


def open_run(run: Path) -> tuple[Recipe, Opened]:
    """Load a run's base model with its adapter.

    Raises:
        UserError: as `read_run`; the adapter is damaged.
    """
    recipe = read_run(run)
    opened = open_base(recipe)
    try:
        attach_adapter(opened.loaded, run / "adapter")
    except DAMAGED as error:
        raise UserError(
            f"the adapter of {run} cannot be loaded onto {recipe.model}",
            found=_first_line(error),
            do=f"remove {run / 'adapter'} and train again, or see that the model is the one it was trained on",
        ) from error
    return recipe, opened


def find_family(name: str) -> Family:
    """Return the family of a checkpoint, as its `config.json` says; no weights are read.

    Raises:
        UserError: no such model, or an architecture that no family covers.
    """
    source = SHORT_NAMES.get(name, name)
    config = _read_config(name, source)
    model_type = str(config["model_type"])
    architecture = str((config["architectures"] or [FAMILY_OF_TYPE.get(model_type, "no class named")])[0])
    if architecture in FAMILIES:
        return FAMILIES[architecture]
    if model_type in FAMILY_OF_TYPE or model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UserError(
            f"no family covers the model {name}",
            found=f"{architecture} (model_type {model_type})",
            allowed=[f"{family.name} ({name})" for name, family in FAMILIES.items()]
            + ["chat (transformers' image-text-to-text models with a chat template: Qwen-VL, SmolVLM, Gemma 3 ...)"],
        )
    try:
        return read_chat(source)
    except DAMAGED as error:
        raise UserError(f"the model {name} cannot be loaded", found=_first_line(error), do="fetch it again") from error


def _read_config(name: str, source: str) -> dict[str, Any]:
    """Read a checkpoint's type and classes; only a name with an owner (`owner/model`) is ever asked of the hub."""
    folder = Path(source)
    reason = "no config.json in the folder" if folder.is_dir() else "no such folder or short name"
    path = None
    if folder.is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        try:
            path = cached_file(source, "config.json")
        except (OSError, ValueError) as error:
            reason = reason if folder.is_dir() else _first_line(error)
    if path is None:
        raise UserError(f"no model {name}", found=reason, allowed=_nearest(name), do=_tell_how(source))
    try:
        config = json.loads(Path(str(path)).read_text(encoding="utf-8"))
        return {"model_type": config["model_type"], "architectures": list(config.get("architectures") or ())}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        found = f"{path}: {_first_line(error)}"
        raise UserError(f"the model {name} does not say what it is", found=found, do="fetch it again") from None


def _nearest(name: str) -> list[str]:
    near = () if name in SHORT_NAMES else get_close_matches(name.lower(), SHORT_NAMES, n=4, cutoff=0.6) or SHORT_NAMES
    return [*near, "a folder with config.json", "a hub name (owner/model)"]


def _tell_how(source: str) -> str:
    """Say how to obtain a model's files."""
    if "/" not in source or Path(source).is_absolute():
        return "name a folder that holds the files; `residency models` lists the short names"
    model = next((known for known in KNOWN.values() if known.hub == source), None)
    terms = f"accept its terms on https://huggingface.co/{source}, then " if model and model.terms else ""
    fetch = f"hf download {source} --local-dir {source.rsplit('/', 1)[-1]}"
    offline = "without a network (HF_HUB_OFFLINE=1): " if is_offline_mode() else ""
    return f"{offline}where there is one, {terms}`{fetch}`; then model: FOLDER"


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"nothing under {line}" if isinstance(error, KeyError) else line
