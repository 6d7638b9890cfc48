"""What the tower is taught with: its feature maps and what is true of the pictures in, a loss out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from residency.models.nano.tower import CHANNELS
from residency.pretrain.tasks import Cells
from residency.types import Record

SMALLEST_SIDE = 0.1
"""A box's places are judged in its own sides, but in no smaller ones than this share of the picture's."""


class NamingWeights(Record):
    """What the parts of `Naming`'s loss weigh beside the names."""

    coverage: float = 3.0
    reach: float = 0.05


class Naming(nn.Module):
    """An image's canonical names told from the map's mean; from each of its cells what covers it and how far it goes.

    A cell tells the distances from its centre to the four sides of a structure's box, as FCOS does (Tian et al., ICCV
    2019, arXiv 1904.01355), so that the language model finds places in every cell that shows a part.
    """

    def __init__(self, names: int, structures: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.names = nn.Linear(channels, names)
        self.coverage = nn.Conv2d(channels, structures, 1)
        self.reach = nn.Conv2d(channels, 4 * structures, 1)
        nn.init.zeros_(self.reach.weight)

    def forward(
        self,
        seen_MCHW: torch.Tensor,
        names_MK: np.ndarray,
        cells: Sequence[Cells],
        weights: NamingWeights,
    ) -> torch.Tensor:
        """Return the mean binary cross-entropy over images and names, plus those of coverage and reach, weighted."""
        true_MK = torch.from_numpy(names_MK).to(seen_MCHW.device)
        named = functional.binary_cross_entropy_with_logits(self.names(seen_MCHW.mean((2, 3))), true_MK)
        covered_MLHW = torch.from_numpy(np.stack([one.covered_LHW for one in cells])).to(seen_MCHW.device)
        placed = functional.binary_cross_entropy_with_logits(self.coverage(seen_MCHW), covered_MLHW)
        reached = self._judge_reach(seen_MCHW, cells, covered_MLHW) if weights.reach else 0.0
        return named + weights.coverage * placed + weights.reach * reached

    def _judge_reach(self, seen_MCHW: torch.Tensor, cells: Sequence[Cells], covered_MLHW: torch.Tensor) -> torch.Tensor:
        """Return the mean error of the boxes' four sides, in sides of the box, over structures, whatever their size."""
        boxes = torch.from_numpy(np.stack([one.boxes_L4HW for one in cells])).to(seen_MCHW.device)
        low, high = boxes[:, :, :2], boxes[:, :, 2:]
        side = seen_MCHW.shape[-1]
        middles = (torch.arange(side, device=seen_MCHW.device) + 0.5) / side
        centre_2HW = torch.stack(torch.meshgrid(middles, middles, indexing="xy"))
        told = SMALLEST_SIDE * self.reach(seen_MCHW).unflatten(1, (-1, 4))
        errors = (told - torch.cat([centre_2HW - low, high - centre_2HW], 2)).abs()
        sides = (high - low).clamp(min=SMALLEST_SIDE).repeat(1, 1, 2, 1, 1)
        share_MLHW = covered_MLHW / covered_MLHW.sum((2, 3), keepdim=True).clamp(min=1e-6)
        shown = (covered_MLHW.sum((2, 3)) > 0).sum().clamp(min=1)
        return (share_MLHW * (errors / sides).mean(2)).sum() / shown
