"""Losses: logits and labels in, sums and counts by name out, so that accumulation can weigh by token."""

from dataclasses import dataclass

import torch
from torch import nn

IGNORED = -100


@dataclass(frozen=True)
class Summed:
    """A loss summed over what it counts; the mean is `total / count`."""

    total: torch.Tensor
    count: torch.Tensor


def caption_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> Summed:
    """Return the cross-entropy in nats over answer tokens; positions labelled -100 do not count."""
    total = nn.functional.cross_entropy(
        logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return Summed(total, (labels_BT != IGNORED).sum())
