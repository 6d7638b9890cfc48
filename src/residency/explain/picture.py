"""A picture to be explained: an image in, its levels, where it shows tissue, and ways to mark and cover it out."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from residency.ultrasound.augment.sector import Levels, Mask, Sector, find_sector, spread
from residency.ultrasound.cover import cover_region

LONGEST = 512
"""The longer side, in pixels, of the copy that is worked on: far above what small towers read."""


@dataclass(frozen=True)
class Picture:
    """An RGB image, at most LONGEST pixels wide or high."""

    image: Image.Image

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file."""
        with Image.open(path) as file:
            return cls.of(file)

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """Take an image of any mode and size."""
        picture = image.convert("RGB")
        picture.thumbnail((LONGEST, LONGEST))
        return cls(picture)

    @cached_property
    def levels_HWC(self) -> Levels:  # noqa: N802 (named by its shape, as arrays are)
        """Levels, 0 to 1."""
        return np.asarray(self.image, np.float32) / np.float32(255)

    @cached_property
    def sector(self) -> Sector:
        """Where the picture shows tissue."""
        return find_sector(self.levels_HWC.mean(2))

    def spread(self, map_hw: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return a coarse map at the picture's size."""
        return spread(map_hw, *self.levels_HWC.shape[:2])

    def mark(self, map_hw: NDArray[np.floating], share: float) -> Mask:
        """Return the region where a map is highest: `share` of the sector's area, within it.

        Where the map is flat, what lies nearer to its heights comes first.
        """
        heat_HW = self.spread(map_hw)
        heat_HW = heat_HW + np.float32(1e-3) * gaussian_filter(heat_HW, max(heat_HW.shape) / 8)
        heat_HW = np.where(self.sector.mask_HW, heat_HW, -np.inf)
        count = max(1, round(share * int(self.sector.mask_HW.sum())))
        region_HW = np.zeros(heat_HW.shape, bool)
        region_HW.flat[np.argsort(heat_HW, axis=None, kind="stable")[-count:]] = True
        return region_HW

    def cover(self, region_HW: Mask, rng: Generator) -> Image.Image:
        """Return the picture with the region as speckle of the local mean."""
        levels_HWC = cover_region(self.levels_HWC, self.sector, region_HW, rng)
        return Image.fromarray((levels_HWC * 255 + 0.5).astype(np.uint8))

    def overlay(self, map_hw: NDArray[np.floating]) -> Image.Image:
        """Return the picture with the map's heat over it: yellow where much, none where little."""
        heat_HW1 = np.clip(self.spread(map_hw), 0, 1)[..., None]
        colour = np.array([1.0, 0.75, 0.1], np.float32) * heat_HW1 + np.array([0.8, 0.1, 0.1], np.float32) * (
            1 - heat_HW1
        )
        levels_HWC = self.levels_HWC * (1 - 0.55 * heat_HW1) + colour * 0.55 * heat_HW1
        return Image.fromarray((levels_HWC * 255 + 0.5).astype(np.uint8))
