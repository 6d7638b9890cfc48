"""Movements of what the sector shows: a sector in, an affine map out; levels and a map in, moved levels out.

The sector's outline stays where it is, and all outside it. Where a movement uncovers a rim of the sector, the tissue
next to it is mirrored there and fades, as a flank without contact does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, map_coordinates

from residency.ultrasound.augment.sector import Levels, Mask, Sector

ROTATION_DEG = 5.0
"""Largest rotation about the probe's apex, in degrees either way."""
ZOOM_RATIO = 1.1
"""Largest magnification about the middle of the probe's face, or its inverse."""
SHIFT_SHARE = 0.04
"""Largest shift to either side and towards the probe, in shares of the side."""
EVEN_SHARE = 0.9
"""How much of a sector its mirror image must cover (intersection over union) for a flip."""
FADE_SHARE = 0.3
"""Distance into an uncovered rim at which its tissue has faded to a third, in shares of the longer side."""
MARGIN = 0.2
"""How far beyond the picture tissue may be continued, in shares of the longer side."""


@dataclass(frozen=True)
class Move:
    """An affine map of the picture's pixels, (3, 3), from old places (x, y, 1) to new ones; pixel edges are whole.

    `zoom` is its magnification; `turned` and `flipped` say whether axes and sides are no longer what they were.
    """

    matrix: NDArray[np.floating]
    zoom: float = 1.0
    turned: bool = False
    flipped: bool = False

    def carry(self, points_N2: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return where (x, y) points in pixels come to lie."""
        return np.asarray(points_N2 @ self.matrix[:2, :2].T + self.matrix[:2, 2])


def rotate(sector: Sector, spacing: tuple[float, float], rng: Generator) -> Move | None:
    """Return a rotation about the apex; `spacing` is (row, column), so that it is one in mm."""
    angle = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    cos, sin, aspect = np.cos(angle), np.sin(angle), spacing[0] / spacing[1]
    turn = np.array([[cos, -sin * aspect, 0], [sin / aspect, cos, 0], [0, 0, 1]])
    return Move(_about(sector.apex) @ turn @ _about(sector.apex, -1), turned=True)


def zoom(sector: Sector, spacing: tuple[float, float], rng: Generator) -> Move | None:
    """Return a magnification about the middle of the probe's face, as another depth setting gives."""
    factor = float(np.exp(rng.uniform(-1, 1) * np.log(ZOOM_RATIO)))
    face = (sector.apex[0], sector.apex[1] + sector.near)
    return Move(_about(face) @ np.diag([factor, factor, 1.0]) @ _about(face, -1), zoom=factor)


def shift(sector: Sector, spacing: tuple[float, float], rng: Generator) -> Move | None:
    """Return a shift to a side and towards the probe; away from it, the near field would have to be made up."""
    height, width = sector.mask_HW.shape
    across, up = rng.uniform(-SHIFT_SHARE, SHIFT_SHARE), rng.uniform(0, SHIFT_SHARE)
    return Move(_about((across * width, -up * height)))


def flip(sector: Sector, spacing: tuple[float, float], rng: Generator) -> Move | None:
    """Return a mirroring about the sector's vertical middle, or None where the sector is not even enough."""
    columns = np.nonzero(sector.mask_HW.any(0))[0]
    if len(columns) == 0:
        return None
    first, last = int(columns[0]), int(columns[-1]) + 1
    body = sector.mask_HW[:, first:last]
    if (body & body[:, ::-1]).sum() < EVEN_SHARE * (body | body[:, ::-1]).sum():
        return None
    return Move(np.array([[-1.0, 0, first + last], [0, 1, 0], [0, 0, 1]]), flipped=True)


def move_levels(levels_HWC: Levels, sector: Sector, matrix: NDArray[np.floating]) -> Levels:
    """Return the picture with what its sector shows moved by the map; equal outside the sector."""
    inverse = np.linalg.inv(matrix)
    moved = np.stack([_warp(levels_HWC[..., channel], inverse) for channel in range(levels_HWC.shape[2])], 2)
    # At its rim the sector is half lit, and the resampling reaches two pixels: there and beyond, tissue is continued.
    core = _warp(sector.core_HW.astype(np.float32), inverse, Image.Resampling.NEAREST) > 0
    rows, columns = np.nonzero(sector.mask_HW & ~core)
    places = np.stack([columns, rows], 1) + 0.5
    moved[rows, columns] = _continue(levels_HWC, sector.core_HW, places @ inverse[:2, :2].T + inverse[:2, 2])
    return np.where(sector.mask_HW[..., None], moved.clip(0, 1), levels_HWC)


def _warp(
    grey_HW: Levels, inverse: NDArray[np.floating], method: Image.Resampling = Image.Resampling.BICUBIC
) -> Levels:
    picture = Image.fromarray(np.ascontiguousarray(grey_HW))
    return np.asarray(picture.transform(picture.size, Image.Transform.AFFINE, tuple(inverse[:2].reshape(-1)), method))


def _continue(levels_HWC: Levels, core_HW: Mask, places_N2: NDArray[np.floating]) -> Levels:
    """Return the levels (N, C) at places near the core's rim: beyond it, those as far within, fading."""
    longer = max(core_HW.shape)
    step = max(1, longer // 128)
    margin = int(MARGIN * longer / step)
    inside = np.pad(core_HW[step // 2 :: step, step // 2 :: step], margin)
    if not inside.any():
        return np.zeros((len(places_N2), levels_HWC.shape[2]), np.float32)
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    inward = (nearest - np.indices(inside.shape)).astype(np.float32) * step
    place = places_N2[:, ::-1].T
    cell = (place - 0.5 - step // 2) / step + margin
    # Interpolated, so that the mirrored tissue has no steps.
    way = np.stack([map_coordinates(axis, cell, order=1, mode="nearest", prefilter=False) for axis in inward])
    source = place + 2 * way - 0.5
    fade = np.exp(-np.hypot(*way) / (FADE_SHARE * longer)).astype(np.float32)
    channels = [
        map_coordinates(levels_HWC[..., channel], source, order=1, mode="nearest", prefilter=False) * fade
        for channel in range(levels_HWC.shape[2])
    ]
    return np.stack(channels, 1)


def _about(place: tuple[float, float], sign: float = 1.0) -> NDArray[np.floating]:
    return np.array([[1, 0, sign * place[0]], [0, 1, sign * place[1]], [0, 0, 1.0]])
