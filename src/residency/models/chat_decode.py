"""How a chat model goes on from prompts: what it has read of them in, tokens or candidates' likelihoods out.

Prompts about one image begin alike, up to its last place. That beginning is read once; its keys and values serve all
of them, and theirs all candidates. Positions and masks are transformers' own, so a model type shares only where a
test holds that nothing changes.
"""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from residency.losses import IGNORED
from residency.models.sampling import Choose


@dataclass(frozen=True)
class Read:
    """B prompts that were read: logits of the next token, the cache, its mask, and the next token's position."""

    logits_BV: torch.Tensor
    cache: Any
    mask_BS: torch.Tensor
    next_B1: torch.Tensor

    def take(self, rows: Sequence[int]) -> "Read":
        """Return some of the prompts, a row as often as it is named; this one stays as it is."""
        index = torch.tensor(rows, device=self.mask_BS.device)
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        cache.batch_select_indices(index)
        return Read(self.logits_BV[index], cache, self.mask_BS[index], self.next_B1[index])

    def go_on(self, core: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, **named: Any) -> tuple[Any, "Read"]:
        """Read more tokens behind each prompt; return the model's output and where it stands now."""
        mask_BS = torch.cat([self.mask_BS, mask_BT], 1)
        read = core(
            input_ids=ids_BT,
            attention_mask=mask_BS,
            position_ids=(self.next_B1 + mask_BT.cumsum(1) - 1).clamp(min=0),
            past_key_values=self.cache,
            use_cache=True,
            **named,
        )
        next_B1 = self.next_B1 + mask_BT.sum(1, keepdim=True)
        return read, Read(read.logits[:, -1], read.past_key_values, mask_BS, next_B1)


def share_beginnings(
    prompts: Sequence[list[int]], images: Sequence[Hashable], image_token: int
) -> list[list[int]] | None:
    """Return the rows of each group of prompts that begin alike with one image, or None where nothing is gained.

    All beginnings must be of one length, and every prompt must go on behind its image.
    """
    ends = {len(prompt) - prompt[::-1].index(image_token) for prompt in prompts}
    if len(ends) > 1 or any(len(prompt) in ends for prompt in prompts):
        return None
    (end,) = ends
    groups: dict[tuple[Hashable, tuple[int, ...]], list[int]] = {}
    for row, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        groups.setdefault((image, tuple(prompt[:end])), []).append(row)
    return list(groups.values()) if len(groups) < len(prompts) else None


def say_answers(
    core: Any, read: Read, ends: Sequence[int], max_new_tokens: int, choose: Choose
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the chosen next tokens (B, T), -100 behind an end token, and their log-likelihoods (0 there)."""
    end_E = torch.tensor(ends, device=read.mask_BS.device)
    ended_B = torch.zeros(len(read.mask_BS), dtype=torch.bool, device=end_E.device)
    tokens, logs = [], []
    for step in range(max_new_tokens):
        token_B = choose(step, read.logits_BV.float(), torch.arange(len(ended_B), device=ended_B.device))
        log_B = read.logits_BV.float().log_softmax(-1).gather(1, token_B.unsqueeze(1)).squeeze(1)
        tokens.append(token_B.masked_fill(ended_B, IGNORED))
        logs.append(log_B.masked_fill(ended_B, 0.0))
        ended_B = ended_B | torch.isin(token_B, end_E)
        if step + 1 == max_new_tokens or bool(ended_B.all()):
            break
        _, read = read.go_on(core, token_B.unsqueeze(1), torch.ones_like(token_B).unsqueeze(1))
    return torch.stack(tokens, 1), torch.stack(logs, 1)


def score_behind(core: Any, read: Read, rows: Sequence[int], ids_KT: torch.Tensor, labels_KT: torch.Tensor) -> Any:
    """Return the log-likelihoods (rows, K) of the same candidates behind some of the prompts."""
    K, T = ids_KT.shape
    behind = read.take([row for row in rows for _ in range(K)])
    logits_BTV = behind.logits_BV.unsqueeze(1)
    if T > 1:
        ids_BT = ids_KT[:, :-1].repeat(len(rows), 1)
        rest, _ = behind.go_on(core, ids_BT, torch.ones_like(ids_BT))
        logits_BTV = torch.cat([logits_BTV, rest.logits], 1)
    return likelihoods(logits_BTV, labels_KT.repeat(len(rows), 1)).view(len(rows), K)


def likelihoods(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Return the summed log-likelihood (B,) of the labels that count."""
    losses = nn.functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return -losses.view(labels_BT.shape).sum(1)


def pad_ids(rows: Sequence[Sequence[int]], padding: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both (B, longest), padded at one side."""
    ids, ones = [torch.tensor(row) for row in rows], [torch.ones(len(row), dtype=torch.long) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=padding, padding_side=side)
    return padded, pad_sequence(ones, batch_first=True, padding_side=side)
