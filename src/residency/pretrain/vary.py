"""What the tower is fed while it learns: grey pictures in, varied and normalized tensors out, and how points moved."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from residency.models.nano.build import IMAGENET_MEAN, IMAGENET_STD

ROTATION = 10.0
"""Largest rotation, in degrees."""
ZOOM_OUT = 1.25
"""Largest part of the plane that is shown, in sides of the picture; beyond its edge it is black."""
MARGIN = 1.08
"""Smallest part of the plane that is shown, in sides of what is outlined in it."""
NEAREST = 0.45
"""Smallest part of the plane that is shown, in sides of the picture."""
CENTRE = 0.4
"""Largest shift of the view's centre, in half sides, unless what is outlined lies farther out."""
SQUEEZE = 0.12
"""Largest change of the picture's ratio of sides, as a logarithm."""


@dataclass(frozen=True)
class View:
    """How one picture is shown: `matrix_23` takes new coordinates to old ones, both -1 to 1 from left and top."""

    matrix_23: np.ndarray
    field_mm: tuple[float, float]
    """Width and height of what is shown."""

    def carry(self, points_P2: np.ndarray) -> np.ndarray:
        """Return where points lie in the new picture, in shares of its sides."""
        turn_22, shift_2 = self.matrix_23[:, :2], self.matrix_23[:, 2]
        moved_P2 = (2 * points_P2 - 1 - shift_2) @ np.linalg.inv(turn_22).T
        return (moved_P2 + 1) / 2


def whole_view(field_mm: tuple[float, float]) -> View:
    """Return the view that changes nothing."""
    return View(np.eye(2, 3), field_mm)


def draw_view(field_mm: tuple[float, float], points_P2: np.ndarray, rng: np.random.Generator) -> View:
    """Turn, magnify, shift and squeeze; what is outlined (points in shares of the sides) stays in the picture."""
    width, height = field_mm
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn_22 = np.array([[cosine, -sine * height / width], [sine * width / height, cosine]])
    turned_P2 = (2 * points_P2 - 1) @ np.linalg.inv(turn_22).T if len(points_P2) else np.zeros((1, 2))
    low, high = turned_P2.min(0).clip(-1, 1), turned_P2.max(0).clip(-1, 1)
    smallest = max(NEAREST, float((high - low).max()) / 2 * MARGIN)
    scale = np.exp(rng.uniform(np.log(min(smallest, ZOOM_OUT)), np.log(ZOOM_OUT)))
    squeeze = rng.uniform(-SQUEEZE, SQUEEZE) / 2
    sides = np.maximum(scale * np.exp([squeeze, -squeeze]), (high - low) / 2 * MARGIN)
    first, last = high - sides, low + sides
    near = np.minimum(np.maximum(first, -CENTRE), last)
    far = np.maximum(np.minimum(last, CENTRE), first)
    centre = rng.uniform(near, far)
    return View(np.column_stack([turn_22 * sides, turn_22 @ centre]), (width * sides[0], height * sides[1]))


def show_images(pixels_MHW: np.ndarray, views: list[View], rng: np.random.Generator) -> torch.Tensor:
    """Return the pictures as their views show them, at another gain, depth gain, dynamic range, blur and speckle."""
    grey = grey_levels(pixels_MHW)
    count, _, height, _ = grey.shape
    matrix_M23 = torch.from_numpy(np.stack([view.matrix_23 for view in views])).float()
    grid = functional.affine_grid(matrix_M23, list(grey.shape), align_corners=False)
    grey = functional.grid_sample(grey, grid, align_corners=False)
    blurred = functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
    grey = torch.lerp(grey, blurred, torch.from_numpy(rng.uniform(0, 0.8, (count, 1, 1, 1))).float())
    depth = np.linspace(-0.5, 0.5, height)[None, :]
    gain_MH = rng.uniform(0.7, 1.3, (count, 1)) + rng.uniform(-0.35, 0.35, (count, 1)) * depth
    gamma_M = np.exp(rng.uniform(-0.45, 0.45, count))
    strength_M = torch.from_numpy(rng.uniform(0, 0.15, (count, 1, 1, 1))).float()
    noise = torch.from_numpy(rng.standard_normal(grey.shape, dtype=np.float32)) * strength_M
    grey = grey.clamp(min=1e-4) ** torch.from_numpy(gamma_M).float()[:, None, None, None]
    grey = grey * torch.from_numpy(gain_MH).float()[:, None, :, None] * (1 + noise)
    return normalize(grey.clamp(0, 1))


def grey_levels(pixels_MHW: np.ndarray) -> torch.Tensor:
    """Return grey levels in [0, 1], shape (M, 1, H, W)."""
    return torch.from_numpy(pixels_MHW).float().div(255).unsqueeze(1)


def normalize(grey_M1HW: torch.Tensor) -> torch.Tensor:
    """Return what the tower is fed, (M, 3, H, W): grey as three channels, by ImageNet's mean and deviation."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (grey_M1HW - mean) / deviation
