"""Where nano's decoder looks while it says a place: half of its heads are taught to look at the structure itself.

Left alone, the language model learns to find what it names only after very long training (DETR needed 500 epochs,
Carion et al., ECCV 2020, arXiv 2005.12872); what the tower knows of places stays unsaid until then.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from residency.data.told import read_told
from residency.models.nano.build import IMAGE_SIZE
from residency.models.nano.tower import STRIDE
from residency.pretrain.tasks import OUTLINED, Cells
from residency.types import Sample

TAUGHT = 0.5
"""The share of each layer's heads that are taught where to look."""
PLAIN = 30.0
"""How far from their mean the codes of rows and of columns lie; the tower's maps have a norm of some 45 a cell."""
FAINT = 0.5
"""Codes nearer to their mean than this share of `PLAIN` are too faint to tell the cells apart."""
ASKED_OUTLINE = {prompt: label for label, prompt in OUTLINED.items()}


class Looking:
    """While it is entered, keeps the queries and keys by which a decoder's layers read the prompt and the picture."""

    def __init__(self, decoder: Any) -> None:
        self.attentions = [layer.encoder_attn for layer in decoder.layers]
        self._kept: dict[nn.Module, torch.Tensor] = {}

    def __enter__(self) -> Self:
        self._hooks = [
            part.register_forward_hook(lambda part, _, told: self._kept.__setitem__(part, told))
            for attention in self.attentions
            for part in (attention.q_proj, attention.k_proj)
        ]
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._kept.clear()

    def judge(self, place_BT: torch.Tensor, target_PN: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of the taught heads' looks, in nats a layer; 0 where no place is said.

        `place_BT` marks the P positions that say a place; `target_PN` is where each should look: shares of the map's N
        cells, or all 0 where nothing is shown. A picture's first token is its mean, its cells come next.
        """
        row_P, step_P = torch.nonzero(place_BT, as_tuple=True)
        is_shown_P = target_PN.sum(1) > 0
        row_P, step_P, target_PN = row_P[is_shown_P], step_P[is_shown_P], target_PN[is_shown_P]
        if not len(row_P):
            return target_PN.new_zeros(())
        cells = slice(1, 1 + target_PN.shape[1])
        losses = []
        for attention in self.attentions:
            heads = int(TAUGHT * attention.num_heads)
            query_BTHD, key_BSHD = (
                self._kept[part].unflatten(-1, (attention.num_heads, attention.head_dim))  # type: ignore[no-untyped-call]
                for part in (attention.q_proj, attention.k_proj)
            )
            query_PHD, key_BNHD = query_BTHD[row_P, step_P, :heads].float(), key_BSHD[:, cells, :heads].float()
            scores_PHN = torch.einsum("phd,pnhd->phn", query_PHD, key_BNHD[row_P]) * attention.scaling
            losses.append(-(target_PN[:, None] * scores_PHN.log_softmax(-1)).sum(-1).mean())
        return torch.stack(losses).mean()


def where_to_look(samples: Sequence[Sample], shown: Sequence[Cells], structures: Sequence[str]) -> torch.Tensor:
    """Return for each place that the answers say, in their order, the share of its structure in each cell: (P, N)."""
    row_of = {label: row for row, label in enumerate(structures)}
    covered = [
        cells.covered_LHW[row_of[label]].ravel()
        for sample, cells in zip(samples, shown, strict=True)
        for label in name_places(sample.prefix, sample.suffix or "")
    ]
    covered_PN = torch.from_numpy(np.stack(covered)) if covered else torch.zeros(0, 1)
    return covered_PN / covered_PN.sum(1, keepdim=True).clamp(min=1e-6)


def name_places(prompt: str, text: str) -> Iterator[str]:
    """Yield for each location token of an answer the structure that it belongs to; outlines are named by the prompt."""
    for told in read_told(text):
        yield from [told.label or ASKED_OUTLINE[prompt]] * text.count("<loc_", told.start, told.end)


def mark_positions(projector: Any, seed: int) -> None:
    """Make the codes of rows and columns plain where they are faint.

    Florence-2 draws them with a deviation of 0.02, lost beside a map's own values: a cell's place could be read from
    nano 5's regions no better than by half a cell. The codes are smooth: the place itself and three waves of it.
    """
    codes = projector.image_position_embed
    side = IMAGE_SIZE // STRIDE
    for number, embedding in enumerate((codes.row_embeddings, codes.column_embeddings)):
        weight_PD = embedding.weight.data
        if _reach_of(weight_PD[:side]) >= FAINT * PLAIN:
            continue
        place_P = torch.arange(len(weight_PD)) / side
        waves = [wave(np.pi * turns * place_P) / turns for turns in (1, 2, 3) for wave in (torch.cos, torch.sin)]
        code_PC = torch.stack([1.5 * place_P, *waves], 1)
        generator = torch.Generator().manual_seed(2 * seed + number)
        directions_DC, _ = torch.linalg.qr(torch.randn(weight_PD.shape[1], code_PC.shape[1], generator=generator))
        code_PD = (code_PC - code_PC[:side].mean(0)) @ directions_DC.T
        weight_PD += (PLAIN / _reach_of(code_PD[:side]) * code_PD).to(weight_PD)


def _reach_of(code_PD: torch.Tensor) -> torch.Tensor:
    return (code_PD - code_PD.mean(0)).norm(dim=1).mean()
