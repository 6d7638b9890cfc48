"""A candidate tower and phantoms in, the tower after so many seconds of one processor out, with its naming head.

Learning is the first phase of `residency pretrain` (`residency.pretrain.nano`): varied views, canonical names and
structures' coverage, AdamW at weight decay 0.02 and norm 1; but all at 192 px, and the schedule (warm-up, then cosine
to zero) runs over the share of the budget that is spent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from residency.models.nano.build import IMAGE_SIZE
from residency.models.nano.tower import NanoTower
from residency.pretrain.naming import Naming, NamingWeights
from residency.pretrain.nano import Pretraining, draw_views
from residency.pretrain.studies import Studies
from residency.pretrain.tasks import mark_images
from residency.pretrain.vary import View, show_images
from towers_made import Candidate, start_lite0

SETTINGS = Pretraining()
PARTS = NamingWeights(reach=0.0)
"""Towers were compared before they were taught how far structures reach."""
WARMUP = 0.05
"""Share of the budget in which the rate rises."""
TIMED = 30
"""Images by whose median the cost of one is told."""
Loss = Callable[[int, np.random.Generator], torch.Tensor]


@dataclass(frozen=True)
class Budget:
    """Seconds of processor time for a tower, images a step, and the seed."""

    seconds: float
    batch: int
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """A tower and its head after learning; `facts`: steps, losses, seconds, millions of parameters."""

    tower: nn.Module
    naming: Naming
    facts: dict[str, Any]


def learn_tower(candidate: Candidate, studies: Studies, wheels: Path, budget: Budget) -> Learned:
    """Start a tower and teach it: half of the budget to imitate Lite0 if it is to, the rest to name."""
    tower, naming = _start(candidate, studies, wheels, budget.seed)
    facts: dict[str, Any] = {"imitating_steps": 0, "seconds": 0.0}
    left = budget.seconds
    if candidate.imitates:
        teacher = _show_still(start_lite0(wheels))
        linear = nn.Conv2d(candidate.channels, candidate.channels, 1)
        steps, seconds, loss = spend(
            [tower, linear], _imitating(tower, linear, teacher, studies, budget), candidate.rate, budget, left / 2
        )
        facts |= {"imitating_steps": steps, "imitating_loss": loss, "seconds": seconds}
        left -= seconds
    steps, seconds, loss = spend([tower, naming], _naming(tower, naming, studies, budget), candidate.rate, budget, left)
    facts |= {"steps": steps, "loss": loss, "seconds": round(facts["seconds"] + seconds, 2)}
    _show_still(tower)
    facts |= {"millions": sum(p.numel() for p in tower.parameters()) / 1e6}
    return Learned(tower, naming, facts)


def spend(
    modules: list[nn.Module], loss: Loss, rate: float, budget: Budget, seconds: float
) -> tuple[int, float, float]:
    """Take AdamW steps until the next one would not fit; returns steps, seconds and the last ten steps' mean loss."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=SETTINGS.weight_decay, fused=True)
    for module in modules:
        module.train()
    losses: list[float] = []
    began, used, longest = process_time(), 0.0, 0.0
    while not losses or used + longest <= seconds:
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(used / seconds)
        value = loss(len(losses), np.random.default_rng([budget.seed, len(losses)]))
        optimizer.zero_grad()
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(value.item())
        before, used = used, process_time() - began
        longest = max(longest, used - before) if len(losses) > 2 else used - before
    return len(losses), round(used, 2), float(np.mean(losses[-10:]))


def schedule(share: float) -> float:
    """Return the share of the peak rate when this share of the budget is spent."""
    if share < WARMUP:
        return (share + 0.005) / (WARMUP + 0.005)
    return 0.5 + 0.5 * cos(pi * min(1.0, (share - WARMUP) / (1 - WARMUP)))


def restore_tower(candidate: Candidate, studies: Studies, wheels: Path, kept: dict[str, Any]) -> Learned:
    """Return a tower that `keep_tower` kept."""
    tower, naming = _start(candidate, studies, wheels, 0)
    tower.load_state_dict(kept["tower"])
    naming.load_state_dict(kept["naming"])
    return Learned(_show_still(tower), naming.eval(), kept["facts"])


def keep_tower(learned: Learned, path: Path) -> None:
    """Write a finished tower; the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {"tower": learned.tower.state_dict(), "naming": learned.naming.state_dict(), "facts": learned.facts}
    torch.save(held, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


@torch.inference_mode()
def time_towers(towers: Mapping[str, nn.Module]) -> dict[str, float]:
    """Return each tower's median processor time of one image in ms, at 192 px and batch 1; they take turns."""
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE).contiguous(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {name: [] for name in towers}
    for _ in range(TIMED):
        for name, tower in towers.items():
            began = process_time()
            tower(pixels)
            times[name].append(process_time() - began)
    return {name: 1000 * median(taken) for name, taken in times.items()}


def _start(candidate: Candidate, studies: Studies, wheels: Path, seed: int) -> tuple[nn.Module, Naming]:
    torch.manual_seed(seed)
    tower: nn.Module = candidate.start(wheels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return tower, Naming(len(studies.vocabulary), len(studies.structures), candidate.channels)


def _show_still(tower: nn.Module) -> nn.Module:
    """Freeze a tower: stored statistics, no gradients."""
    if isinstance(tower, NanoTower):
        tower.learns_statistics = False
    return tower.eval().requires_grad_(False)


def _show(studies: Studies, budget: Budget, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray, list[View]]:
    rows = rng.choice(len(studies.scenes), budget.batch, replace=False)
    views = draw_views(studies, rows, rng)
    pixels = show_images(studies.pixels_NHW[rows], views, rng)
    return pixels.contiguous(memory_format=torch.channels_last), rows, views


def _naming(tower: nn.Module, naming: Naming, studies: Studies, budget: Budget) -> Loss:
    def loss(_: int, rng: np.random.Generator) -> torch.Tensor:
        pixels, rows, views = _show(studies, budget, rng)
        seen = tower(pixels).last_hidden_state
        cells = mark_images(studies, rows, views, seen.shape[-1])
        value: torch.Tensor = naming(seen, studies.names_NK[rows], cells, PARTS)
        return value

    return loss


def _imitating(tower: nn.Module, linear: nn.Module, teacher: nn.Module, studies: Studies, budget: Budget) -> Loss:
    """Mean squared error of the map through a linear layer; the teacher's channels are standardized over the batch."""

    def loss(_: int, rng: np.random.Generator) -> torch.Tensor:
        pixels = _show(studies, budget, rng)[0]
        with torch.no_grad():
            wanted = functional.batch_norm(teacher(pixels).last_hidden_state, None, None, training=True)
        return functional.mse_loss(linear(tower(pixels).last_hidden_state), wanted)

    return loss
