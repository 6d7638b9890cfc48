"""What training may change: a recipe's `tune` in, a plan by exact module names out, and a model that obeys it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypedDict, cast

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn

from residency.config import Part, Tune
from residency.errors import UserError
from residency.models.family import PARTS, Family, Loaded, part_of

TIED = (".shared", ".embed_tokens")
"""Endings of the word embeddings, which share their weights with the output layer."""


@dataclass(frozen=True)
class Plan:
    """Modules that get low-rank adapters and modules that are trained in full, by exact name."""

    adapted: tuple[str, ...]
    trained: tuple[str, ...]


class Parameters(TypedDict):
    """Parameter counts of a part."""

    total: int
    trainable: int


def plan_tuning(family: Family, model: nn.Module, tune: Tune) -> Plan:
    """Resolve `tune` against a model.

    Raises:
        UserError: a name matches no module (with what there is, and the nearest), a module is both adapted and
            trained in full, or nothing would train.
    """
    trained = [name for entry in tune.train for name in _trained_modules(family, model, entry)]
    adapted = list(_adapted_modules(family, model, tune)) if tune.lora else []
    both = [name for name in adapted if any(f"{name}.".startswith(f"{whole}.") for whole in trained)]
    if both:
        raise UserError(
            "modules would be adapted by LoRA and trained in full", found=both[:3], do="take the part out of one"
        )
    if not adapted and not trained:
        raise UserError("nothing would train", do="set tune.lora or tune.train")
    return Plan(tuple(adapted), tuple(dict.fromkeys(trained)))


def apply_plan(loaded: Loaded, plan: Plan, tune: Tune, seed: int) -> None:
    """Wrap the model so that the plan's tensors train and no other."""
    lora = tune.lora
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank if lora else 1,
        lora_alpha=lora.alpha if lora else 1,
        lora_dropout=lora.dropout if lora else 0.0,
        target_modules=list(plan.adapted) or DUMMY_TARGET_MODULES,
        modules_to_save=list(plan.trained) or None,
    )
    loaded.model = get_peft_model(loaded.model, config)


def count_parameters(family: Family, model: nn.Module) -> dict[Part, Parameters]:
    """Return how many parameters each part holds and trains; full copies of trained modules count once."""
    counts: dict[Part, Parameters] = {part: {"total": 0, "trainable": 0} for part in PARTS}
    for name, parameter in model.named_parameters():
        part = part_of(family, name)
        if part is None:
            continue
        if parameter.requires_grad:
            counts[part]["trainable"] += parameter.numel()
        if ".modules_to_save." not in name and ".lora_" not in name:
            counts[part]["total"] += parameter.numel()
    return counts


def _trained_modules(family: Family, model: nn.Module, entry: str) -> list[str]:
    """Return the modules that a part's name, or a module's name, stands for.

    Word embeddings are tied to the output layer; a copy of one would come loose from the other, so a part's name
    takes every child but those. Nor does it take another part that lies within it.
    """
    modules = dict(model.named_modules())
    if entry in PARTS:
        others = [prefix for part, prefix in family.parts.items() if part != entry]
        return list(_untied_children(modules, family.parts[entry], others))
    head, _, rest = entry.partition(".")
    name = f"{prefix}.{rest}" if (prefix := dict(family.parts).get(cast(Part, head))) else entry
    found = [module for module in modules if module == name or module.endswith(f".{name}")]
    if not found:
        raise UserError(
            f"tune.train: {entry} matches no module", allowed=PARTS, do=_suggestion(entry, (m for m in modules if m))
        )
    shared = _sharing_modules(model)
    if torn := [name for name in shared if any(f"{name}.".startswith(f"{whole}.") for whole in found)]:
        raise UserError(
            f"tune.train: {entry} holds weights that another module uses, too; a copy would come loose from them",
            found=torn,
            do="name modules that hold none of these",
        )
    return found


def _sharing_modules(model: nn.Module) -> list[str]:
    """Return the modules that hold a weight together with another (word embeddings tied to the output layer)."""
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    return [name for names in holders.values() if len(names) > 1 for name in names]


def _untied_children(modules: dict[str, nn.Module], prefix: str, others: Sequence[str]) -> Iterable[str]:
    module = modules[prefix]
    if prefix.endswith(TIED) or prefix in others:
        return
    excepted = any(name.startswith(f"{prefix}.") and (name.endswith(TIED) or name in others) for name in modules)
    if excepted or isinstance(module, nn.ModuleList | nn.ModuleDict):  # PEFT copies no container
        for child, _ in module.named_children():
            yield from _untied_children(modules, f"{prefix}.{child}", others)
    elif any(True for _ in module.parameters()):
        yield prefix


def _adapted_modules(family: Family, model: nn.Module, tune: Tune) -> Iterable[str]:
    assert tune.lora is not None
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for part in tune.lora.parts:
        inside = [name for name in linear if part_of(family, name) == part]
        endings = sorted({name.rsplit(".", 1)[-1] for name in inside})
        targets = tune.lora.targets or family.lora_targets[part]
        if not targets:
            raise UserError(
                f"{family.name}: {part} has no modules for LoRA", do=f"train it in full: tune.train: [{part}]"
            )
        for target in targets:
            found = [name for name in inside if name == target or name.endswith(f".{target}")]
            if not found:
                raise UserError(
                    f"tune.lora.targets: {target} matches no linear module of {part}",
                    allowed=endings,
                    do=_suggestion(target, endings),
                )
            yield from found


def _suggestion(name: str, names: Iterable[str]) -> str:
    near: list[Any] = get_close_matches(name, list(names), n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else "take one of the allowed names"
