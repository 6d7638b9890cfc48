"""Depthwise convolutions whose gradients a CPU finds fast in bfloat16: padded maps in, filtered maps out.

oneDNN (as of torch 2.13) has a slow path for two of these gradients: that of a 5 x 5 filter takes thirty times as long
as that of a 3 x 3 one, that of a strided filter's input thirty times as long as its forward pass. Here the first is
put together from 3 x 3 pieces and the second found in float32 (`benchmarks/tower_gradients.py`).
"""

from itertools import product
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

QUICK = 3
"""Side of the filters whose gradient is fast."""


def convolve_depthwise(input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int) -> torch.Tensor:
    """Filter each channel with its own K x K weights, as `conv2d` does without padding."""
    kind = input_BCHW.device.type
    halves = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    if kind == "cpu" and halves and torch.is_grad_enabled():
        halved = input_BCHW.bfloat16(), weight_C1KK.bfloat16()
        filtered: torch.Tensor = _Depthwise.apply(*halved, stride)  # type: ignore[no-untyped-call]
        return filtered
    return conv2d(input_BCHW, weight_C1KK, stride=stride, groups=len(weight_C1KK))


class _Depthwise(Function):
    @staticmethod
    def forward(ctx: Any, input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int) -> torch.Tensor:
        ctx.save_for_backward(input_BCHW, weight_C1KK)
        ctx.stride = stride
        return conv2d(input_BCHW, weight_C1KK, stride=stride, groups=len(weight_C1KK))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, change_BCHW: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        input_BCHW, weight_C1KK = ctx.saved_tensors
        change_BCHW = _channels_last(change_BCHW)
        needs_input, needs_weight, _ = ctx.needs_input_grad
        of_input = _input_gradient(change_BCHW, input_BCHW, weight_C1KK, ctx.stride) if needs_input else None
        of_weight = _weight_gradient(change_BCHW, input_BCHW, weight_C1KK, ctx.stride) if needs_weight else None
        return of_input, of_weight, None


def _input_gradient(
    change_BCHW: torch.Tensor, input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int
) -> torch.Tensor:
    if stride == 1:
        return _go_back(change_BCHW, input_BCHW, weight_C1KK, stride, to_input=True)
    shape = torch.empty(input_BCHW.shape, memory_format=torch.channels_last)  # only its shape is read
    return _go_back(change_BCHW.float(), shape, weight_C1KK.float(), stride, to_input=True).to(input_BCHW.dtype)


def _weight_gradient(
    change_BCHW: torch.Tensor, input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int
) -> torch.Tensor:
    """Go over the filter in pieces of `QUICK` x `QUICK`; where they overlap they agree."""
    kernel = weight_C1KK.shape[-1]
    high, wide = ((side - 1) * stride + QUICK for side in change_BCHW.shape[-2:])
    starts = sorted({*range(0, kernel - QUICK, QUICK), kernel - QUICK})
    gradient_C1KK = torch.empty_like(weight_C1KK)
    for top, left in product(starts, repeat=2):
        piece = (..., slice(top, top + QUICK), slice(left, left + QUICK))
        seen = _channels_last(input_BCHW[..., top : top + high, left : left + wide])
        gradient_C1KK[piece] = _go_back(change_BCHW, seen, weight_C1KK[piece], stride, to_input=False)
    return gradient_C1KK


def _go_back(
    change_BCHW: torch.Tensor, input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int, *, to_input: bool
) -> torch.Tensor:
    """Return the convolution's gradient by its input or by its weights."""
    of_input, of_weight, _ = torch.ops.aten.convolution_backward(
        change_BCHW,
        input_BCHW,
        weight_C1KK,
        bias_sizes=None,
        stride=[stride] * 2,
        padding=[0, 0],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=len(weight_C1KK),
        output_mask=[to_input, not to_input, False],
    )
    gradient: torch.Tensor = of_input if to_input else of_weight
    return gradient


def _channels_last(map_BCHW: torch.Tensor) -> torch.Tensor:
    return map_BCHW.contiguous(memory_format=torch.channels_last)
