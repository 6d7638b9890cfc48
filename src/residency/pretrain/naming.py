"""What the tower is taught with: its feature maps and what is true of the pictures in, a loss out."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from residency.models.nano.tower import CHANNELS
from residency.pretrain.studies import Studies
from residency.pretrain.tasks import cover_cells
from residency.pretrain.vary import View


class Naming(nn.Module):
    """An image's canonical names told from the map's mean, structures' coverage from each of its cells."""

    def __init__(self, names: int, structures: int, channels: int = CHANNELS) -> None:
        super().__init__()
        self.names = nn.Linear(channels, names)
        self.coverage = nn.Conv2d(channels, structures, 1)

    def forward(
        self, seen_MCHW: torch.Tensor, studies: Studies, rows: np.ndarray, views: list[View], coverage_weight: float
    ) -> torch.Tensor:
        """Return the binary cross-entropy: mean over images and names, plus the weighted mean over cells."""
        names_MK = torch.from_numpy(studies.names_NK[rows]).to(seen_MCHW.device)
        covered = [
            cover_cells(studies.scenes[row], view, studies.structures, seen_MCHW.shape[-1])
            for row, view in zip(rows, views, strict=True)
        ]
        covered_MLHW = torch.from_numpy(np.stack(covered)).to(seen_MCHW.device)
        named = functional.binary_cross_entropy_with_logits(self.names(seen_MCHW.mean((2, 3))), names_MK)
        placed = functional.binary_cross_entropy_with_logits(self.coverage(seen_MCHW), covered_MLHW)
        return named + coverage_weight * placed
