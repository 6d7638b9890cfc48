"""What the tower is fed while it learns: grey pictures in, varied and normalized tensors out."""

import numpy as np
import torch
from torch.nn import functional

from residency.models.nano.build import IMAGENET_MEAN, IMAGENET_STD

ROTATION, SHIFT = 8.0, 0.06
"""Largest rotation in degrees and shift in shares of the side. Sizes stay, for answers tell millimetres."""


def vary_images(pixels_MHW: np.ndarray, boxed_M: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Turn and shift (not where boxes are asked for), change gain, depth gain, dynamic range and speckle; normalize."""
    grey = grey_levels(pixels_MHW)
    count, _, height, _ = grey.shape
    free = (~boxed_M).astype(np.float64)
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION, count)) * free
    shift = rng.uniform(-2 * SHIFT, 2 * SHIFT, (count, 2)) * free[:, None]
    rows = [[np.cos(angle), -np.sin(angle), shift[:, 0]], [np.sin(angle), np.cos(angle), shift[:, 1]]]
    turn_M23 = torch.from_numpy(np.array(rows).transpose(2, 0, 1)).float()
    grid = functional.affine_grid(turn_M23, list(grey.shape), align_corners=False)
    grey = functional.grid_sample(grey, grid, align_corners=False)
    depth = np.linspace(-0.5, 0.5, height)[None, :]
    gain_MH = rng.uniform(0.75, 1.25, (count, 1)) + rng.uniform(-0.3, 0.3, (count, 1)) * depth
    gamma_M = np.exp(rng.uniform(-0.4, 0.4, count))
    noise = rng.standard_normal(grey.shape, dtype=np.float32) * rng.uniform(0, 0.12, (count, 1, 1, 1)).astype(
        np.float32
    )
    grey = grey.clamp(min=1e-4) ** torch.from_numpy(gamma_M).float()[:, None, None, None]
    grey = grey * torch.from_numpy(gain_MH).float()[:, None, :, None] * (1 + torch.from_numpy(noise))
    return normalize(grey.clamp(0, 1))


def grey_levels(pixels_MHW: np.ndarray) -> torch.Tensor:
    """Return grey levels in [0, 1], shape (M, 1, H, W)."""
    return torch.from_numpy(pixels_MHW).float().div(255).unsqueeze(1)


def normalize(grey_M1HW: torch.Tensor) -> torch.Tensor:
    """Return what the tower is fed, (M, 3, H, W): grey as three channels, by ImageNet's mean and deviation."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (grey_M1HW - mean) / deviation
