"""How the next token is chosen: logits in, tokens out; the likeliest one, or one drawn at a temperature."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Choose = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""The number of the step, logits (n, V) and which of the N sequences they are of in, a token for each out."""


@dataclass(frozen=True)
class Sampling:
    """`count` answers to each sample of a batch, drawn at a temperature (0: the likeliest, every time).

    Those of sample b follow from `seeds[b]` alone, whatever stands beside it in its batch.
    """

    count: int
    temperature: float
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.temperature < float("inf"):
            raise ValueError(f"no such sampling: {self.count} answers at temperature {self.temperature}")

    def chooser(self, length: int, first: int = 0, last: int | None = None) -> Choose:
        """Return what chooses up to `length` tokens of each sample's answers `first` to `last`, side by side."""
        drawn = [np.random.default_rng(seed).random((self.count, length))[first:last] for seed in self.seeds]
        uniform_NT = torch.from_numpy(np.concatenate(drawn))
        return lambda step, logits_nV, going: draw_tokens(logits_nV, self.temperature, uniform_NT[going.cpu(), step])


def choose_likeliest(step: int, logits_nV: torch.Tensor, going: torch.Tensor) -> torch.Tensor:
    """Return the likeliest tokens (n,)."""
    return logits_nV.argmax(-1)


def draw_tokens(logits_NV: torch.Tensor, temperature: float, uniform_N: torch.Tensor) -> torch.Tensor:
    """Return tokens (N,) where the cumulative probabilities, at a temperature, pass numbers drawn from [0, 1)."""
    if temperature == 0:
        return logits_NV.argmax(-1)
    shifted_NV = logits_NV - logits_NV.max(-1, keepdim=True).values
    mass_NV = (shifted_NV / temperature).exp().cumsum(-1, dtype=torch.float64)
    wanted_N1 = uniform_N.to(mass_NV.device).unsqueeze(1) * mass_NV[:, -1:]
    return torch.searchsorted(mass_NV, wanted_N1, right=True).squeeze(1).clamp(max=logits_NV.shape[-1] - 1)
