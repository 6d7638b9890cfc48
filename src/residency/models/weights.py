"""A checkpoint's files in, a transformers model in memory out: at 32 or 16 bits, some parts' linear layers at 4."""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import nn
from torch.utils._pytree import tree_map_only
from transformers import AutoConfig, BitsAndBytesConfig

from residency.config import Part
from residency.errors import MissingExtra, UserError
from residency.models.family import ModelSpec, part_within


def load_weights(model_class: Any, spec: ModelSpec, parts: Mapping[Part, str]) -> Any:
    """Read a checkpoint's weights (safetensors) in the numbers that `spec` asks for.

    Raises:
        UserError: its files lack weights; transformers would draw those at random and go on. Or a part that is to be
            quantized has no linear layer.
        MissingExtra: bitsandbytes is not installed, and 4 bits were asked for.
    """
    more = {"quantization_config": _quantization(model_class, spec, parts)} if spec.quantized else {}
    model, told = model_class.from_pretrained(
        spec.source, use_safetensors=True, dtype=spec.dtype, output_loading_info=True, **more
    )
    if missing := sorted(told["missing_keys"]):
        found = f"{len(missing)} of its weights are in no file: {', '.join(missing[:3])}"
        raise UserError(f"the model {spec.source} is not whole", found=found, do="fetch it again")
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Left on, the first answer would pack 4-bit weights for a product through which no gradient comes back.
            module.support_avx512bf16_for_cpu = False
    return model


def widen_copies(model: PeftModel, dtype: torch.dtype) -> bool:
    """Keep PEFT's copies of modules, which are trained in full, in fp32 within a model of `dtype`.

    Small steps would vanish in 16-bit weights. The copies read in fp32 and hand on what the model reads. Returns
    whether anything was changed.
    """
    wrappers = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    if dtype == torch.float32 or not wrappers:
        return False
    for wrapper in wrappers:
        copy = wrapper.modules_to_save["default"].float()
        copy.register_forward_pre_hook(partial(_cast_inputs, dtype=torch.float32), with_kwargs=True)
        copy.register_forward_hook(partial(_cast_output, dtype=dtype))
    return True


def is_quantized(module: nn.Module) -> bool:
    """Tell whether a module holds 4-bit weights."""
    return any(hasattr(parameter, "quant_state") for parameter in module.parameters())


def count_numbers(parameter: nn.Parameter) -> int:
    """Return how many weights a parameter holds; 4-bit ones are stored two to a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()


def _cast_inputs(_: nn.Module, given: Any, named: Any, dtype: torch.dtype) -> Any:
    return _cast(given, dtype), _cast(named, dtype)


def _cast_output(_: nn.Module, __: Any, output: Any, dtype: torch.dtype) -> Any:
    return _cast(output, dtype)


def _cast(tree: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(torch.Tensor, lambda x: x.to(dtype) if x.is_floating_point() else x, tree)


def _quantization(model_class: Any, spec: ModelSpec, parts: Mapping[Part, str]) -> BitsAndBytesConfig:
    """Return the settings of QLoRA (Dettmers 2023, arXiv 2305.14314): NormalFloat at 4 bits, scales quantized too."""
    if find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "qlora")
    with torch.device("meta"):
        skeleton = getattr(model_class, "from_config", model_class)(AutoConfig.from_pretrained(spec.source))
    linear = [name for name, module in skeleton.named_modules() if isinstance(module, nn.Linear)]
    chosen = {name: part_within(parts, name) for name in linear}
    if empty := [part for part in spec.quantized if part not in chosen.values()]:
        raise UserError(
            "tune.quantize_parts names parts without linear layers",
            found=empty,
            allowed=sorted({part for part in chosen.values() if part}),
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=spec.dtype,
        llm_int8_skip_modules=[name for name, part in chosen.items() if part not in spec.quantized],
    )
