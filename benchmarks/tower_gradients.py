"""What a step of learning costs nano's tower on a CPU, with our depthwise gradients and with torch's own.

    python benchmarks/tower_gradients.py [--turns 7] [--images 32]

Both compute in bfloat16; turns alternate, so that a busy moment hits either alike. Below 1: ours is faster.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from unittest.mock import patch

import torch
from torch.nn.functional import conv2d

from residency.models.nano import tower as towers
from residency.models.nano.build import IMAGE_SIZE
from residency.models.nano.tower import NanoTower


def main() -> None:
    """Time the two by turns and print their ratio with its least and largest value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--images", type=int, default=32)
    asked = parser.parse_args()
    torch.manual_seed(0)
    learn = prepare_step(asked.images)
    learn()
    ours, plain = [], []
    for _ in range(asked.turns):
        ours.append(time_once(learn))
        with patch.object(towers, "convolve_depthwise", filter_plainly):
            plain.append(time_once(learn))
    ratios = sorted(one / other for one, other in zip(ours, plain, strict=True))
    print(f"{asked.images} images a step, {torch.get_num_threads()} threads, {asked.turns} turns")
    print(f"ours {median(ours):.3f} s, torch's gradients {median(plain):.3f} s")
    print(f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def prepare_step(images: int) -> Callable[[], None]:
    """Return one step of learning: the tower sees random pictures, goes back, and moves."""
    tower = NanoTower()
    tower.learns_statistics = True
    tower.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=1e-4, fused=True)
    pixels_MCHW = torch.randn(images, 3, IMAGE_SIZE, IMAGE_SIZE).contiguous(memory_format=torch.channels_last)

    def learn() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            seen_MCHW = tower(pixels_MCHW).last_hidden_state
        optimizer.zero_grad()
        torch.autograd.backward(seen_MCHW.float().square().mean())
        optimizer.step()

    return learn


def filter_plainly(input_BCHW: torch.Tensor, weight_C1KK: torch.Tensor, stride: int) -> torch.Tensor:
    """Filter each channel by torch's own operation, whose gradients are oneDNN's."""
    return conv2d(input_BCHW, weight_C1KK, stride=stride, groups=len(weight_C1KK))


def time_once(work: Callable[[], None]) -> float:
    """Return the seconds that a piece of work takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


if __name__ == "__main__":
    main()
