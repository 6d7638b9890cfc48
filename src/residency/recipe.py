"""Recipes as files: YAML and `key=value` overrides in, a checked recipe out; and back."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from residency.config import Recipe
from residency.errors import UserError
from residency.foreign import FOREIGN_KEYS, put_key, translate_foreign
from residency.section import Section

NO_PREFIX_TUNING = (
    "prefix tuning is not offered, as rows that share an image cannot hold its keys and values; there is "
    "tune.soft_prompt, tune.lora (with rslora, dora), tune.train, and tune.quantize"
)

OF_UNION = r"literal\[.*\]|constrained-\w+|int|float|bool|str"
"""What pydantic adds to a key whose value may be of several kinds: the kind that was tried."""


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides (dotted keys, YAML values).

    Raises:
        UserError: the file cannot be read, a key is unknown (with the nearest allowed one), a value is not allowed,
            or the file is a public Florence-2 script's configuration (with the equivalent recipe).
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the recipe {path} cannot be read", found=error.strerror, do="name a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"the recipe {path} is no text", found=f"byte {error.start} is not UTF-8", do="save it as UTF-8"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"the recipe {path} is not YAML", found=error) from None
    if not isinstance(values, dict):
        raise UserError(f"the recipe {path} holds no keys", found=type(values).__name__, do="see recipes/ for examples")
    if foreign := sorted(set(values) & FOREIGN_KEYS.keys()):
        raise UserError(
            f"{path} is written for another Florence-2 script",
            found=foreign,
            do="this is the equivalent recipe:\n\n" + translate_foreign(values),
        )
    for override in overrides:
        _set_key(values, override)
    return _validated(values, path)


ASKING = ("retrieval", "predict", "speed")
"""The sections that a trained run can be asked by in another way."""


def override_asking(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with `key=value` overrides of how it is asked.

    Raises:
        UserError: a key belongs to training, is unknown, or its value is not allowed.
    """
    if not overrides:
        return recipe
    if other := [key for key in overrides if key.split(".")[0].split("=")[0] not in ASKING]:
        allowed = [key for key in known_keys() if key.split(".")[0] in ASKING and "." in key]
        raise UserError("a trained run keeps its recipe but for how it is asked", found=other, allowed=allowed)
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    for override in overrides:
        _set_key(values, override)
    return _validated(values, Path(recipe.name))


def name_overrides(overrides: Sequence[str]) -> str:
    """Return a folder's name for answers made by overrides: theirs, in order; none without any."""
    return re.sub(r"[^A-Za-z0-9=.,_-]+", "-", ",".join(sorted(overrides)))[:120]


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe, resolved in full, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _validated(values: dict[str, Any], path: Path) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = []
        for issue in error.errors():
            key = ".".join(str(part) for part in issue["loc"] if not re.fullmatch(OF_UNION, str(part)))
            if key.startswith("tune.prefix"):
                lines.append(f"`{key}`: {NO_PREFIX_TUNING}")
            elif issue["type"] == "extra_forbidden":
                near = get_close_matches(key, known_keys(), n=3, cutoff=0.5)
                lines.append(f"unknown key `{key}`" + (f" (nearest: {', '.join(near)})" if near else ""))
            elif issue["type"] == "missing":
                lines.append(f"the key `{key}` is missing")
            elif issue["type"] == "tuple_type" and not isinstance(issue["input"], dict):
                given = "" if issue["input"] is None else issue["input"]
                lines.append(f"`{key}`: a list is wanted, such as [{given}], found {issue['input']!r}")
            else:
                lines.append(f"`{key}`: {issue['msg']}, found {issue['input']!r}")
        raise UserError(f"the recipe {path} is not valid:\n  " + "\n  ".join(lines)) from None


def known_keys(section: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Return every key a recipe may hold, dotted."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, Section):
                keys += known_keys(kind, f"{prefix}{name}.")
    return keys


def _set_key(values: dict[str, Any], override: str) -> None:
    key, sign, value = override.partition("=")
    if not sign:
        raise UserError(f"`{override}` is not key=value", allowed="train.epochs=3")
    put_key(values, key.strip(), _read_value(value))


def _read_value(text: str) -> Any:
    """Read YAML; a prompt's template, which looks like a mapping without values, stays text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, dict) and None in value.values() else value
