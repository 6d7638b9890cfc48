"""A recipe's entry in `tune.train` in, the modules it stands for out: a part, a name, a pattern, a slice of layers."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, cast

from torch import nn

from residency.config import Part
from residency.errors import UserError
from residency.models.family import PARTS

TIED = (".shared", ".embed_tokens")
"""Endings of the word embeddings, which share their weights with the output layer."""
SLICE = re.compile(r"-?\d*:-?\d*|-\d+")


def trained_modules(parts: Mapping[Part, str], model: nn.Module, entry: str) -> list[str]:
    """Return the modules that an entry stands for: `projector`, `language.decoder.layers.-2:`, `vision.*.fc1`.

    A name that begins with no part is looked for at any depth. Word embeddings are tied to the output layer; a copy
    of one would come loose from the other, so a part's name takes every child but those. Nor does it take another part
    that lies within it.

    Raises:
        UserError: it matches nothing, or what it matches shares weights with another module.
    """
    modules = dict(model.named_modules())
    if entry in PARTS:
        others = [prefix for part, prefix in parts.items() if part != entry]
        return list(_untied_children(modules, parts[entry], others))
    head, _, rest = entry.partition(".")
    roots, steps = ([parts[cast(Part, head)]], rest) if head in parts else (list(modules), entry)
    found = list(dict.fromkeys(name for root in roots for name in _walk(modules, root, steps.split("."))))
    if not found:
        raise UserError(
            f"tune.train: {entry} matches no module",
            allowed=PARTS,
            do=suggest(entry if head not in parts else f"{parts[cast(Part, head)]}.{rest}", (m for m in modules if m)),
        )
    if torn := [name for name in _sharing_modules(model) if any(f"{name}.".startswith(f"{one}.") for one in found)]:
        raise UserError(
            f"tune.train: {entry} holds weights that another module uses, too; a copy would come loose from them",
            found=torn,
            do="name modules that hold none of these",
        )
    return [name for one in found for name in _list_copied(modules, one)]


def suggest(name: str, names: Iterable[str]) -> str:
    """Say which of the names may have been meant."""
    near: list[Any] = get_close_matches(name, list(names), n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else "take one of the allowed names"


def _walk(modules: Mapping[str, nn.Module], root: str, steps: Sequence[str]) -> Iterator[str]:
    """Yield the modules that the steps lead to: a child's name, a pattern of names, or a slice of numbered ones."""
    if not steps:
        yield root
        return
    children = [name for name, _ in modules[root].named_children()]
    for child in _choose(children, steps[0]):
        yield from _walk(modules, f"{root}.{child}".removeprefix("."), steps[1:])


def _choose(children: Sequence[str], step: str) -> Sequence[str]:
    if step in children:
        return [step]
    if not SLICE.fullmatch(step):
        return [child for child in children if fnmatchcase(child, step)]
    layers = sorted((child for child in children if child.isdigit()), key=int)
    if ":" not in step:
        return layers[int(step) :][:1] if -int(step) <= len(layers) else []
    first, last = (int(end) if end else None for end in step.split(":"))
    return layers[first:last]


def _list_copied(modules: Mapping[str, nn.Module], name: str) -> Iterator[str]:
    """Yield what PEFT can copy of a named module: itself, or what is in it where it is a container."""
    if isinstance(modules[name], nn.ModuleList | nn.ModuleDict):
        for child, _ in modules[name].named_children():
            yield from _list_copied(modules, f"{name}.{child}")
    elif any(True for _ in modules[name].parameters()):
        yield name


def _untied_children(modules: Mapping[str, nn.Module], prefix: str, others: Sequence[str]) -> Iterator[str]:
    """Yield what PEFT can copy of a module: itself, or its children where it is a container or holds tied words."""
    module = modules[prefix]
    if prefix.endswith(TIED) or prefix in others:
        return
    excepted = any(name.startswith(f"{prefix}.") and (name.endswith(TIED) or name in others) for name in modules)
    if excepted or isinstance(module, nn.ModuleList | nn.ModuleDict):
        for child, _ in module.named_children():
            yield from _untied_children(modules, f"{prefix}.{child}", others)
    elif any(True for _ in module.parameters()):
        yield prefix


def _sharing_modules(model: nn.Module) -> list[str]:
    """Return the modules that hold a weight together with another (word embeddings tied to the output layer)."""
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    return [name for names in holders.values() if len(names) > 1 for name in names]
