"""The caption loss with soft location targets: logits and labels in, a sum and a count out."""

import torch
from torch.nn import functional

from residency.losses import IGNORED, Summed, caption_loss


def spread_loss(
    logits_BTV: torch.Tensor, labels_BT: torch.Tensor, first_location: int, locations: int, spread: float
) -> Summed:
    """Return the cross-entropy in nats over answer tokens; a location's target is spread over its neighbours.

    A miss by one bin of a thousand is nearly right: the target of location k is a normal distribution around k with a
    standard deviation of `spread` bins. Location tokens are `first_location` and the `locations - 1` ids after it.
    """
    place_BT = labels_BT - first_location
    located_BT = (place_BT >= 0) & (place_BT < locations)
    words = caption_loss(logits_BTV, labels_BT.masked_fill(located_BT, IGNORED))
    logits_LV = logits_BTV[located_BT].float()
    bins = torch.arange(locations, device=labels_BT.device)
    target_LP = torch.softmax(-0.5 * ((bins - place_BT[located_BT][:, None]) / spread) ** 2, -1)
    chances_LP = functional.log_softmax(logits_LV, -1)[:, first_location : first_location + locations]
    return Summed(words.total - (target_LP * chances_LP).sum(), words.count + located_BT.sum())
