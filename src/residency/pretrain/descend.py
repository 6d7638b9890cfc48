"""Descend a loss: modules and a loss by step in, trained modules out; what a stopped descent goes on with is kept."""

import json
from collections.abc import Callable
from math import cos, pi
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from residency.progress import track

SAVE_EVERY = 100


def descend(
    path: Path,
    modules: dict[str, nn.Module],
    groups: list[dict[str, Any]],
    loss: Callable[[int, np.random.Generator], torch.Tensor],
    steps: int,
    *,
    weight_decay: float,
    warmup: int,
    seed: int,
) -> float:
    """Take AdamW steps on a loss; every `SAVE_EVERY` steps keep what a stopped pretraining goes on with.

    Returns the seconds that the steps took, those before a stop included.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    state: dict[str, Any] = {**modules, "optimizer": optimizer}
    first, seconds = _restore_state(path.with_suffix(".pt"), state)
    began = perf_counter() - seconds
    parameters = [parameter for group in groups for parameter in group["params"]]
    for step in track(range(first, steps), f"pretraining: {path.name}"):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, steps, warmup)
        value = loss(step, np.random.default_rng([seed, steps, step]))
        optimizer.zero_grad()
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            seconds = perf_counter() - began
            _save_state(path.with_suffix(".pt"), state, step + 1, seconds)
            with path.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step + 1, "loss": round(value.item(), 4)}) + "\n")
    return seconds


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Return the share of the peak rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * cos(pi * (step - warmup) / max(1, steps - warmup))


def _save_state(path: Path, state: dict[str, Any], step: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save({name: thing.state_dict() for name, thing in state.items()} | {"step": step, "seconds": seconds}, part)
    part.replace(path)


def _restore_state(path: Path, state: dict[str, Any]) -> tuple[int, float]:
    """Load what `_save_state` kept and return its step and seconds; 0 where there is nothing."""
    if not path.is_file():
        return 0, 0.0
    kept = torch.load(path, weights_only=True)
    for name, thing in state.items():
        thing.load_state_dict(kept[name])
    return int(kept["step"]), float(kept["seconds"])
