"""From a model's name to its weights in memory: a short name, folder, hub name or run in, family and model out."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from safetensors import SafetensorError
from transformers.utils import cached_file

from residency.config import Recipe, load_recipe
from residency.errors import UserError
from residency.models.family import Family, Loaded, ModelSpec
from residency.models.florence2 import Florence2
from residency.models.nano.family import Nano

FAMILIES: dict[str, Family] = {
    "Florence2ForConditionalGeneration": Florence2(),
    "NanoForConditionalGeneration": Nano(),
}
"""Each family by the name of its model class, as `config.json` gives it."""

SHORT_NAMES: dict[str, str] = {
    "nano": str(files("residency") / "models" / "nano" / "weights"),
    "florence-2-base": "florence-community/Florence-2-base",
    "florence-2-large": "florence-community/Florence-2-large",
    "florence-2-base-ft": "florence-community/Florence-2-base-ft",
    "florence-2-large-ft": "florence-community/Florence-2-large-ft",
}


DAMAGED = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)
"""What the readers of weights and tokenizers raise over files that are damaged or do not belong together."""


@dataclass(frozen=True)
class Opened:
    """A family with one of its models in memory; `name` is what the user called it."""

    name: str
    family: Family
    loaded: Loaded


def open_model(name: str, *, prompt: str = "{prefix}", image_size: int | None = None) -> Opened:
    """Load a base model by short name, folder, or hub name.

    Raises:
        UserError: no such model, an architecture that no family covers, or weights that are not safetensors.
    """
    source = SHORT_NAMES.get(name, name)
    if source.lower().startswith("microsoft/florence-2"):
        twin = source.replace(source.split("/")[0], "florence-community", 1)
        raise UserError(f"{name} needs remote code, which is never run here", do=f"model: {twin}  (the same weights)")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    family = _find_family(name, source)
    try:
        loaded = family.load(ModelSpec(source, prompt, image_size))
    except DAMAGED as error:
        raise UserError(
            f"the model {name} cannot be loaded",
            found=_first_line(error),
            do="fetch it again; it needs config.json, safetensors weights, tokenizer and processor",
        ) from error
    loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return Opened(name, family, loaded)


def open_run(run: Path) -> tuple[Recipe, Opened]:
    """Load a run's base model with its adapter.

    Raises:
        UserError: the folder is no run, or its training has not ended.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run", found="no config.yaml", do="residency train RECIPE makes one")
    if not (run / "adapter" / "adapter_config.json").is_file():
        raise UserError(f"{run} has no adapter yet", do="let `residency train` end; the same command goes on")
    recipe = load_recipe(run / "config.yaml")
    opened = open_model(recipe.model, prompt=recipe.prompt, image_size=recipe.image_size)
    try:
        opened.loaded.model = PeftModel.from_pretrained(opened.loaded.model, str(run / "adapter")).eval()
    except DAMAGED as error:
        raise UserError(
            f"the adapter of {run} cannot be loaded onto {recipe.model}",
            found=_first_line(error),
            do=f"remove {run / 'adapter'} and train again, or see that the model is the one it was trained on",
        ) from error
    return recipe, opened


def _find_family(name: str, source: str) -> Family:
    folder = Path(source)
    reason = "no config.json in the folder" if folder.is_dir() else "no such folder"
    config = None
    try:
        if folder.is_dir() or not folder.is_absolute():
            config = cached_file(source, "config.json")
    except (OSError, ValueError) as error:
        reason = _first_line(error) if not folder.exists() else reason
    if config is None:
        raise UserError(
            f"no model {name}",
            found=reason,
            allowed=[*SHORT_NAMES, "a folder with config.json", "a hub name"],
            do="offline (HF_HUB_OFFLINE=1), name a folder that holds the weights",
        )
    architecture = _architecture(name, Path(str(config)))
    if architecture not in FAMILIES:
        families = [f"{family.name} ({architecture})" for architecture, family in FAMILIES.items()]
        raise UserError(f"no family covers the model {name}", found=architecture, allowed=families)
    return FAMILIES[architecture]


def _architecture(name: str, config: Path) -> str:
    try:
        return str(json.loads(config.read_text(encoding="utf-8"))["architectures"][0])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        found = f"{config}: {_first_line(error)}"
        raise UserError(f"the model {name} does not say what it is", found=found, do="fetch it again") from None


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"nothing under {line}" if isinstance(error, KeyError) else line
