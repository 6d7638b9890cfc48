"""Probe geometry: a sector's measures in, its sampling grid in mm, pixel places and the scan-converted image out.

Probe coordinates are mm: x to the right of the middle beam, y down from the middle of the probe's face.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from residency.ultrasound.phantom.shapes import Grid, Points

RADIAL, BEAMS = 288, 168


@dataclass(frozen=True)
class Fan:
    """A curved array's sector and the window of it that the screen shows.

    `radius_mm` is the probe's radius (a large one is a linear array), `half_angle` the half opening in radians,
    `spacing_mm` mm a pixel, (`left_mm`, `top_mm`) the probe coordinates of the window's upper left corner.
    """

    radius_mm: float
    depth_mm: float
    half_angle: float
    height: int
    width: int
    spacing_mm: float
    left_mm: float
    top_mm: float

    @property
    def step_mm(self) -> float:
        """Mm between two samples along a beam."""
        return self.depth_mm / (RADIAL - 1)

    @cached_property
    def angles(self) -> Grid:
        """Each beam's angle from the middle in radians, (1, BEAMS)."""
        return np.linspace(-self.half_angle, self.half_angle, BEAMS, dtype=np.float32)[None]

    @cached_property
    def depths(self) -> Grid:
        """Each sample's depth along its beam in mm, (RADIAL, 1)."""
        return np.linspace(0, self.depth_mm, RADIAL, dtype=np.float32)[:, None]

    @cached_property
    def places(self) -> tuple[Grid, Grid]:
        """Probe coordinates x, y in mm of every sample, each (RADIAL, BEAMS)."""
        radius = self.depths + np.float32(self.radius_mm)
        return radius * np.sin(self.angles), radius * np.cos(self.angles) - np.float32(self.radius_mm)

    def to_samples(self, points_mm: Points) -> NDArray[np.float64]:
        """Return (N, 2) sample coordinates (row along the beam, column by beam) of probe points; may lie outside."""
        x, y = points_mm[:, 0], points_mm[:, 1] + self.radius_mm
        row = (np.hypot(x, y) - self.radius_mm) / self.depth_mm * (RADIAL - 1)
        column = (np.arctan2(x, y) + self.half_angle) / (2 * self.half_angle) * (BEAMS - 1)
        return np.stack([row, column], 1)

    def to_pixels(self, points_mm: Points) -> Points:
        """Return (N, 2) pixel coordinates (x, y) of probe points; may lie outside the image."""
        corner = np.array([self.left_mm, self.top_mm])
        return np.asarray((points_mm - corner) / self.spacing_mm - 0.5)

    def shows(self, points_mm: Points) -> NDArray[np.bool_]:
        """Return which probe points lie in the sector and in the window."""
        samples, pixels = self.to_samples(points_mm), self.to_pixels(points_mm)
        inside = (samples >= 0) & (samples <= np.array([RADIAL - 1, BEAMS - 1]))
        within = (pixels >= 0) & (pixels <= np.array([self.width - 1, self.height - 1]))
        return np.asarray(inside.all(1) & within.all(1))

    def convert(self, samples: Grid) -> Grid:
        """Scan-convert (RADIAL, BEAMS) to (height, width) by linear interpolation; 0 outside the sector."""
        x = np.float32(self.left_mm) + (np.arange(self.width, dtype=np.float32)[None] + 0.5) * np.float32(
            self.spacing_mm
        )
        y = np.float32(self.top_mm + self.radius_mm) + (
            np.arange(self.height, dtype=np.float32)[:, None] + 0.5
        ) * np.float32(self.spacing_mm)
        row = (np.hypot(x, y) - np.float32(self.radius_mm)) * np.float32((RADIAL - 1) / self.depth_mm)
        column = (np.arctan2(x, y) + np.float32(self.half_angle)) * np.float32((BEAMS - 1) / (2 * self.half_angle))
        return np.asarray(map_coordinates(samples, [row, column], order=1, cval=0.0, prefilter=False), np.float32)


def set_fan(
    radius_mm: float,
    depth_mm: float,
    half_angle: float,
    size: int,
    aspect: float,
    zoom: float = 1.0,
    middle_mm: tuple[float, float] = (0.0, 0.0),
) -> Fan:
    """Return the fan of a sector shown in an image whose longer side has `size` pixels.

    `aspect` is width by height; `zoom` 1 fits the sector's height, more magnifies about `middle_mm` (x, y).
    """
    width = size if aspect >= 1 else round(size * aspect)
    height = round(size / aspect) if aspect >= 1 else size
    top = radius_mm * (np.cos(half_angle) - 1)
    span = (depth_mm - top) * 1.04
    spacing = span / height / zoom
    pull = 1 - 1 / zoom
    middle_y = (top + depth_mm) / 2 * (1 - pull) + middle_mm[1] * pull
    return Fan(
        radius_mm,
        depth_mm,
        half_angle,
        height,
        width,
        float(spacing),
        float(middle_mm[0] * pull - width * spacing / 2),
        float(middle_y - height * spacing / 2),
    )
