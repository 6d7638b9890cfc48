"""Where a chat model's parts lie: a model's skeleton in, module prefixes and LoRA targets by part out."""

from collections.abc import Mapping

from torch import nn

from residency.config import Part

PLACES: Mapping[Part, tuple[str, ...]] = {
    "projector": ("multi_modal_projector", "connector", "visual.merger", "mm_projector", "aligner"),
    "vision": ("vision_tower", "visual", "vision_model", "vision_encoder"),
    "language": ("language_model", "text_model"),
}
"""What the parts are called inside `model.`; the projector may lie within the tower."""
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What LoRA adapts in a language model, where it has these."""


def find_parts(model: nn.Module) -> dict[Part, str]:
    """Return the module prefix of each part that a model's module names show."""
    modules = dict(model.named_modules())
    return {
        part: found
        for part, names in PLACES.items()
        if (found := next((f"model.{name}" for name in names if f"model.{name}" in modules), None))
    }


def find_targets(model: nn.Module, parts: Mapping[Part, str], part: Part) -> tuple[str, ...]:
    """Return the endings of a part's linear modules; of a language model's, the usual ones."""
    prefix = parts[part] + "."
    within = tuple(f"{other}." for other in parts.values() if other.startswith(prefix))
    names = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(prefix) and not name.startswith(within)
    }
    usual = tuple(name for name in LINEAR if name in names) if part == "language" else ()
    return usual or tuple(sorted(names))
