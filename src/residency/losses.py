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

    def mean(self) -> torch.Tensor:
        """Return the mean; 0 where nothing was counted."""
        return self.total / self.count.clamp(min=1)


def caption_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> Summed:
    """Return the cross-entropy in nats over answer tokens; positions labelled -100 do not count."""
    total = nn.functional.cross_entropy(
        logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return Summed(total, (labels_BT != IGNORED).sum())


def spread_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, locations: range, spread: float) -> Summed:
    """Return the caption loss in nats, a location token's target spread over its neighbours.

    A miss by one bin of a thousand is nearly right: the target of a location is a normal distribution around it with
    a standard deviation of `spread` bins. `locations` are the ids of the location tokens, in the order of their bins.
    """
    place_BT = labels_BT - locations.start
    located_BT = (place_BT >= 0) & (place_BT < len(locations))
    words = caption_loss(logits_BTV, labels_BT.masked_fill(located_BT, IGNORED))
    bins = torch.arange(len(locations), device=labels_BT.device)
    target_LP = torch.softmax(-0.5 * ((bins - place_BT[located_BT][:, None]) / spread) ** 2, -1)
    chances_LV = nn.functional.log_softmax(logits_BTV[located_BT].float(), -1)
    told = (target_LP * chances_LV[:, locations.start : locations.stop]).sum()
    return Summed(words.total - told, words.count + located_BT.sum())


def match_loss(scores_AC: torch.Tensor, positive_AC: torch.Tensor, known_AC: torch.Tensor) -> Summed:
    """Return InfoNCE in nats over anchors: minus the log of the probability that falls on an anchor's positives.

    Scores are logits (similarity over temperature). The positives' probabilities are added before the logarithm
    (MIL-NCE, Miech 2020, arXiv 1912.06430), so none of several right answers is pushed away; with one positive it is
    CLIP's loss. Pairs that are not `known` take no part, nor do anchors without a positive.
    """
    rows = positive_AC.any(1)
    logits = scores_AC[rows].float()
    every = logits.masked_fill(~known_AC[rows], -torch.inf).logsumexp(1)
    right = logits.masked_fill(~positive_AC[rows], -torch.inf).logsumexp(1)
    return Summed((every - right).sum(), rows.sum())


def class_loss(scores_AC: torch.Tensor, positive_AC: torch.Tensor, compared_AC: torch.Tensor) -> Summed:
    """Return the supervised contrastive loss in nats over anchors (SupCon, Khosla 2020, arXiv 2004.11362, L_out).

    Each anchor's loss is the mean over its positives of minus their log-probability among what it is compared with.
    An anchor must not be compared with itself; anchors without a positive take no part.
    """
    rows = positive_AC.any(1)
    logits, positive = scores_AC[rows].float(), positive_AC[rows]
    every = logits.masked_fill(~compared_AC[rows], -torch.inf).logsumexp(1)
    right = logits.masked_fill(~positive, 0.0).sum(1) / positive.sum(1)
    return Summed((every - right).sum(), rows.sum())


ATTENTION, POOLING, SCALE = 4.0, 5.0, 10.0
"""GLoRIA's inverse temperatures: of the attention over regions, of the pooling over words, and of the loss."""


def region_scores(answers_KE: torch.Tensor, regions_MNE: torch.Tensor, member_TK: torch.Tensor) -> torch.Tensor:
    """Return logits (T, M): how well each image's regions hold what each set of answers says.

    Each answer attends over an image's regions, and the context it gathers is compared with it by cosine; a set's
    score is the log-mean-exp over its answers (GLoRIA's local loss, Huang 2021, ICCV, answers in the place of words;
    the mean, so that long sets do not win by length). `member_TK` marks the answers of each set. Answers and
    regions come at unit length. Neither the order of regions nor of answers matters.
    """
    attention_KMN = torch.einsum("ke,mne->kmn", answers_KE, regions_MNE).mul(ATTENTION).softmax(-1)
    context_KME = torch.einsum("kmn,mne->kme", attention_KMN, regions_MNE)
    cosine_KM = nn.functional.cosine_similarity(context_KME, answers_KE.unsqueeze(1), dim=-1)
    asked_TKM = (cosine_KM * POOLING).masked_fill(~member_TK.unsqueeze(-1), -torch.inf)
    pooled_TM = (asked_TKM.logsumexp(1) - member_TK.sum(1, keepdim=True).log()) / POOLING
    return pooled_TM * SCALE
