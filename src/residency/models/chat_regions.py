"""What a chat model's tower says of images: its output in, one tensor of regions out; and back, as models read it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch


class Regions(tuple[torch.Tensor, ...]):
    """Regions (N, D) of each image, which some models join by `torch.cat` and others take as one tensor by `.to`."""

    def to(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """Return them as one tensor (B, N, D)."""
        return torch.stack(self).to(*arguments, **named)


def join_depths(seen: Any, images: int) -> torch.Tensor:
    """Return a tower's output as regions (M, N, D).

    Where it has features of several depths (DeepStack, Meng 2024, arXiv 2406.04334), they stand behind one another
    along N, the last layer's first.
    """
    depths = [seen.pooler_output, *(getattr(seen, "deepstack_features", None) or ())]
    return torch.cat([_stacked(depth, images) for depth in depths], 1)


def split_depths(regions_BND: torch.Tensor, further: int) -> SimpleNamespace:
    """Return regions as the output of a tower with this many depths besides the last layer's."""
    last, *others = regions_BND.chunk(further + 1, 1)
    return SimpleNamespace(pooler_output=Regions(last), deepstack_features=[tuple(depth) for depth in others])


def _stacked(regions: torch.Tensor | Sequence[torch.Tensor], images: int) -> torch.Tensor:
    """Return regions (M, N, D), which a model may give as one tensor, by image, or by an image's tiles."""
    whole = regions if isinstance(regions, torch.Tensor) else torch.cat([*regions])
    return whole.reshape(images, -1, whole.shape[-1])
