"""What training may change: a recipe's `tune` in, a plan by exact module names out, and a model that obeys it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn

from residency.config import Part, Tune
from residency.errors import UserError
from residency.models.family import PARTS, Family, Loaded, part_of
from residency.models.patterns import suggest, trained_modules
from residency.models.soft import add_soft_prompt, embed_soft_ids
from residency.models.weights import count_numbers, is_quantized, widen_copies


@dataclass(frozen=True)
class Plan:
    """Modules that get low-rank adapters and modules that are trained in full, by exact name, and a soft prompt."""

    adapted: tuple[str, ...]
    trained: tuple[str, ...]
    soft_tokens: int = 0


class Parameters(TypedDict):
    """Parameter counts of a part."""

    total: int
    trainable: int


def plan_tuning(family: Family, model: nn.Module, tune: Tune) -> Plan:
    """Resolve `tune` against a model.

    Raises:
        UserError: a name matches no module (with what there is, and the nearest), a module is both adapted and
            trained in full, or held at 4 bits and trained in full, methods exclude each other, or nothing would train.
    """
    if tune.soft_prompt:
        if tune.lora or tune.train:
            raise UserError(
                "a soft prompt is trained alone: it says what a frozen model can be told",
                found=f"lora: {'set' if tune.lora else 'null'}, train: {list(tune.train)}",
                do="tune: {soft_prompt: {tokens: 16}, lora: null, train: []}",
            )
        return Plan((), (), tune.soft_prompt.tokens)
    trained = [name for entry in tune.train for name in trained_modules(family.parts, model, entry)]
    adapted = list(_adapted_modules(family, model, tune)) if tune.lora else []
    both = [name for name in adapted if any(f"{name}.".startswith(f"{whole}.") for whole in trained)]
    if both:
        raise UserError(
            "modules would be adapted by LoRA and trained in full", found=both[:3], do="take the part out of one"
        )
    if rough := [name for name in trained if is_quantized(model.get_submodule(name))]:
        raise UserError(
            "modules held at 4 bits cannot be trained in full",
            found=rough[:3],
            do="adapt them by LoRA, or leave their part out of tune.quantize_parts",
        )
    if not adapted and not trained:
        raise UserError("nothing would train", do="set tune.lora, tune.train or tune.soft_prompt")
    return Plan(tuple(dict.fromkeys(adapted)), tuple(dict.fromkeys(trained)))


def describe_plan(family: Family, model: nn.Module, plan: Plan, tune: Tune) -> list[str]:
    """Return a line for each part of the plain model: what is held how, what is trained how."""
    lines = []
    for part, prefix in family.parts.items():
        held = "nf4 linear layers, " * is_quantized(model.get_submodule(prefix)) + tune.weights
        told = [_describe_lora(tune, [name for name in plan.adapted if part_of(family, name) == part])]
        whole = [name for name in plan.trained if part_of(family, name) == part]
        told += [f"in full: {', '.join(_shorten(whole, prefix))}" if whole else ""]
        told += [
            f"{plan.soft_tokens} learned vectors before the prompt" if plan.soft_tokens * (part == "language") else ""
        ]
        lines.append(f"{part} ({held}): {'; '.join(filter(None, told)) or 'frozen'}")
    if elsewhere := [name for name in plan.trained if part_of(family, name) is None]:
        lines.append(f"outside the parts: in full: {', '.join(elsewhere)}")
    return lines


def apply_plan(loaded: Loaded, plan: Plan, tune: Tune, seed: int) -> None:
    """Wrap the model so that the plan's tensors train and no other."""
    lora = tune.lora
    torch.manual_seed(seed)
    loaded.model.requires_grad_(False)
    if plan.soft_tokens:
        add_soft_prompt(loaded, plan.soft_tokens)
        return
    config = LoraConfig(
        r=lora.rank if lora else 1,
        lora_alpha=lora.alpha if lora else 1,
        lora_dropout=lora.dropout if lora else 0.0,
        use_rslora=bool(lora and lora.rslora),
        use_dora=bool(lora and lora.dora),
        target_modules=list(plan.adapted) or DUMMY_TARGET_MODULES,
        modules_to_save=list(plan.trained) or None,
    )
    loaded.model = get_peft_model(loaded.model, config)
    widen_copies(loaded.model, loaded.spec.dtype)


def attach_adapter(loaded: Loaded, folder: Path) -> None:
    """Wrap a base model with an adapter from a run's folder, to answer with."""
    loaded.model = model = PeftModel.from_pretrained(loaded.model, str(folder)).eval()
    _require_whole(model, folder)
    if widen_copies(model, loaded.spec.dtype):
        set_peft_model_state_dict(model, load_peft_weights(str(folder), str(loaded.device)))  # what 16 bits cut off
    if model.active_peft_config.is_prompt_learning:
        embed_soft_ids(loaded)


def _require_whole(model: PeftModel, folder: Path) -> None:
    """Make sure that each weight of an adapter found its place, and each place its weight; PEFT would go on.

    Raises:
        ValueError: the adapter belongs to another model, or is not whole.
    """
    held, wanted = set(load_peft_weights(str(folder), "cpu")), set(get_peft_model_state_dict(model))
    if lost := sorted(held ^ wanted):
        raise ValueError(f"{len(lost)} weights of the adapter have no place or are missing, {lost[0]} among them")


def count_parameters(family: Family, model: nn.Module) -> dict[Part, Parameters]:
    """Return how many parameters each part holds and trains; full copies of trained modules count once."""
    counts: dict[Part, Parameters] = {part: {"total": 0, "trainable": 0} for part in PARTS}
    for name, parameter in model.named_parameters():
        part = part_of(family, name)
        if part is None:
            continue
        if parameter.requires_grad:
            counts[part]["trainable"] += parameter.numel()
        if not any(added in name for added in (".modules_to_save.", ".lora_", "prompt_encoder.")):
            counts[part]["total"] += count_numbers(parameter)
    return counts


def _adapted_modules(family: Family, model: nn.Module, tune: Tune) -> Iterable[str]:
    assert tune.lora is not None
    pooling = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention))
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not (pooling and name.startswith(pooling))  # never called as a layer
    ]
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
                    do=suggest(target, endings),
                )
            yield from found


def _describe_lora(tune: Tune, names: Sequence[str]) -> str:
    if not names or tune.lora is None:
        return ""
    lora = tune.lora
    method = ("rs" if lora.rslora else "") + ("DoRA" if lora.dora else "LoRA")
    scale = lora.alpha / (lora.rank**0.5 if lora.rslora else lora.rank)
    counted = Counter(name.rsplit(".", 1)[-1] for name in names)
    told = ", ".join(f"{ending} x{count}" for ending, count in counted.items())
    return f"{method} of rank {lora.rank}, scale {scale:.3g}, on {len(names)} linear layers ({told})"


def _shorten(names: Sequence[str], prefix: str) -> list[str]:
    return [name.removeprefix(f"{prefix}.") if name != prefix else "all of it" for name in names]
