"""The tissue map in probe coordinates: shapes in, echo strength, attenuation and interfaces per sample out.

Echo strength is in dB about maternal soft tissue (0 dB); attenuation is two-way, in dB a mm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

from residency.ultrasound.phantom.fan import BEAMS, RADIAL, Fan
from residency.ultrasound.phantom.shapes import Grid, Points, Shape, Tube

FLUID_DB = -42.0


@dataclass(frozen=True)
class Pose:
    """Where a body part lies: its origin (x, y) in probe mm, its u axis' angle, and whether v is mirrored."""

    x: float
    y: float
    angle: float
    mirrored: bool = False

    def to_probe(self, points: Points) -> Points:
        """Return probe coordinates of local (N, 2) points."""
        u, v = points[:, 0], points[:, 1] * (-1 if self.mirrored else 1)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + cos * u - sin * v, self.y + sin * u + cos * v], 1)

    def to_local(self, x: Grid, y: Grid) -> tuple[Grid, Grid]:
        """Return local coordinates of probe coordinates."""
        return self.turn_back(x - np.float32(self.x), y - np.float32(self.y))

    def turn_back(self, x: Grid, y: Grid) -> tuple[Grid, Grid]:
        """Return a probe direction in local axes."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        v = cos * y - sin * x
        return cos * x + sin * y, -v if self.mirrored else v

    def heading(self, u: float, v: float) -> tuple[float, float]:
        """Return the image direction (x right, y down) of a local direction, of unit length."""
        x, y = self.to_probe(np.array([[u, v]]))[0] - (self.x, self.y)
        length = float(np.hypot(x, y))
        return float(x) / length, float(y) / length


@dataclass(frozen=True)
class Structure:
    """A named thing that was painted in a layer (0 behind, 1 before), for the answers, boxes and outlines."""

    name: str
    pose: Pose
    shape: Shape
    layer: int = 0


class Canvas:
    """What every sample of the sector is made of.

    Attributes:
        echo_db: scatterers' strength, (RADIAL, BEAMS).
        loss_db: two-way attenuation a mm, without bone.
        block_db: two-way attenuation a mm of what casts shadows.
        coarse, fine, streaks: noise of unit variance, smooth over 14 mm, 3.5 mm, and 1.8 by 9 mm.
        glint: amplitude of specular interfaces as the beam meets them.
        layer, front: the layer being painted, and the one that lies in front at each sample.
    """

    def __init__(self, fan: Fan, loss_db: float, rng: Generator) -> None:
        self.fan = fan
        self.tissue_loss_db = loss_db
        self.x, self.y = fan.places
        shape = (RADIAL, BEAMS)
        self.coarse = _smooth_noise(rng, 14.0, 14.0, fan)
        self.fine = _smooth_noise(rng, 3.5, 3.5, fan)
        self.streaks = _smooth_noise(rng, 1.8, 9.0, fan)
        self.echo_db = np.zeros(shape, np.float32)
        self.loss_db = np.full(shape, loss_db, np.float32)
        self.block_db = np.zeros(shape, np.float32)
        self.glint = np.zeros(shape, np.float32)
        self.layer, self.front = 0, np.zeros(shape, np.int8)
        self.structures: list[Structure] = []

    def fill(
        self,
        pose: Pose,
        shape: Shape,
        db: float,
        *,
        soft: float = 0.5,
        mix: float = 1.0,
        texture: tuple[float, float] = (0.0, 0.0),
        streaks: float = 0.0,
        loss: float = 1.0,
        block: float = 0.0,
        cover: bool = True,
    ) -> None:
        """Fill a shape with tissue of `db`, its edge `soft` mm wide.

        `mix` below 1 lets the old tissue through; `texture` is the dB of coarse and fine patchiness, `streaks` that
        of fibres across the beam, `loss` the attenuation relative to soft tissue, `block` further dB a mm that
        shadow what lies behind. The interfaces and bones that lay there go, unless `cover` is False.
        """
        window = self._window(pose, shape, soft)
        if window is None:
            return
        u, v = pose.to_local(self.x[window], self.y[window])
        weight = np.clip(np.float32(0.5) - shape.distance(u, v) / np.float32(soft), 0, 1) * np.float32(mix)
        value = db + texture[0] * self.coarse[window] + texture[1] * self.fine[window]
        if streaks:
            value = value + np.float32(streaks) * np.maximum(self.streaks[window] - np.float32(0.4), 0)
        self.echo_db[window] += weight * (value - self.echo_db[window])
        self.loss_db[window] += weight * (np.float32(loss * self.tissue_loss_db) - self.loss_db[window])
        if cover:
            self.glint[window] *= 1 - weight
            self.block_db[window] *= 1 - weight
            self.front[window][weight > 0.5] = self.layer
        if block:
            self.block_db[window] += weight * np.float32(block)

    def pool(self, pose: Pose, shape: Shape, db: float = FLUID_DB, *, soft: float = 0.5, mix: float = 1.0) -> None:
        """Fill a shape with fluid, which hardly attenuates."""
        self.fill(pose, shape, db, soft=soft, mix=mix, loss=0.1)

    def edge(
        self,
        pose: Pose,
        shape: Shape,
        db: float,
        *,
        width: float = 0.5,
        power: float = 2.0,
        floor: float = 0.1,
        block: float = 0.0,
        graze: float = 0.0,
        where: Callable[[Grid, Grid], Grid] | None = None,
    ) -> None:
        """Draw a shape's edge as an interface that shines where the beam meets it squarely.

        The echo falls with |cos|^`power` of the angle of incidence down to `floor`; `block` dB a mm shadow what
        lies behind, `graze` more where the beam grazes the edge (refraction); `where` weighs parts of the edge.
        """
        window = self._window(pose, shape, 3 * width)
        if window is None:
            return
        u, v = pose.to_local(self.x[window], self.y[window])
        distance = shape.distance(u, v)
        if distance.shape[0] < 2:
            return
        facing = np.minimum(np.abs(np.gradient(distance, np.float32(self.fan.step_mm), axis=0)), 1).astype(np.float32)
        near = np.exp(-((distance / np.float32(width)) ** 2))
        if where is not None:
            near = near * where(u, v)
        self._shine(window, near, facing, db, power, floor)
        if block or graze:
            self.block_db[window] += near * (np.float32(block) + np.float32(graze) * (1 - facing) ** 3)

    def strand(
        self,
        pose: Pose,
        tube: Tube,
        db: float,
        *,
        width: float = 0.5,
        power: float = 2.0,
        floor: float = 0.15,
        block: float = 0.0,
    ) -> None:
        """Draw a tube's middle line as a thin interface."""
        window = self._window(pose, tube, 3 * width)
        if window is None:
            return
        u, v = pose.to_local(self.x[window], self.y[window])
        beam_x, beam_y = np.sin(self.fan.angles[:, window[1]]), np.cos(self.fan.angles[:, window[1]])
        beam_u, beam_v = pose.turn_back(beam_x, beam_y)
        distance, facing = tube.strand(u, v, np.broadcast_to(beam_u, u.shape), np.broadcast_to(beam_v, u.shape))
        near = np.exp(-((distance / np.float32(width)) ** 2))
        self._shine(window, near, facing, db, power, floor)
        if block:
            self.block_db[window] += near * np.float32(block)

    def bone(self, pose: Pose, shape: Shape, db: float, *, block: float, width: float = 0.7) -> None:
        """Draw a bone: a strong face towards the beam, attenuation within and shadow behind."""
        self.fill(pose, shape, db - 14, soft=0.6, texture=(0.0, 2.0), block=block)
        self.edge(pose, shape, db, width=width, power=1.5, floor=0.25)

    def blend_planes(self, strength: float) -> None:
        """Mix in the neighbouring planes, as a slice that misses its plane does: edges wash out, interfaces fade."""
        share = np.float32(0.75 * strength)
        wide = gaussian_filter(self.echo_db, (6 + 6 * strength, 4 + 4 * strength), truncate=2)
        self.echo_db += share * (wide - self.echo_db)
        self.glint *= 1 - np.float32(0.6) * share

    def name(self, name: str, pose: Pose, shape: Shape) -> None:
        """Record a structure for answers, boxes and outlines."""
        self.structures.append(Structure(name, pose, shape, self.layer))

    def _shine(
        self, window: tuple[slice, slice], near: Grid, facing: Grid, db: float, power: float, floor: float
    ) -> None:
        # Roughness: a real interface glitters along its length.
        rough = np.float32(10) ** ((np.float32(2.0) * self.fine[window]) / 20)
        value = np.float32(10 ** (db / 20)) * near * (np.float32(floor) + np.float32(1 - floor) * facing**power) * rough
        self.glint[window] = np.maximum(self.glint[window], value)

    def _window(self, pose: Pose, shape: Shape, margin: float) -> tuple[slice, slice] | None:
        """Return the samples about a shape, or None where the sector does not meet it."""
        x, y = pose.to_probe(np.array([shape.centre]))[0]
        reach = shape.reach + margin
        radius = np.hypot(x, y + self.fan.radius_mm)
        first = (radius - reach - self.fan.radius_mm) / self.fan.step_mm
        last = (radius + reach - self.fan.radius_mm) / self.fan.step_mm
        middle = np.arctan2(x, y + self.fan.radius_mm)
        spread = np.arcsin(reach / radius) if reach < radius else np.pi
        per_beam = (BEAMS - 1) / (2 * self.fan.half_angle)
        left = (middle - spread + self.fan.half_angle) * per_beam
        right = (middle + spread + self.fan.half_angle) * per_beam
        rows = slice(max(int(first), 0), min(int(last) + 2, RADIAL))
        columns = slice(max(int(left), 0), min(int(right) + 2, BEAMS))
        return (rows, columns) if rows.stop - rows.start > 1 and columns.stop - columns.start > 1 else None


def _smooth_noise(rng: Generator, along_mm: float, across_mm: float, fan: Fan) -> Grid:
    """Return noise of unit variance, smooth over these lengths along and across the beams, (RADIAL, BEAMS)."""
    width = 2 * fan.half_angle * (fan.radius_mm + fan.depth_mm / 2)
    rows = min(max(int(fan.depth_mm * 3 / along_mm), 4), RADIAL)
    columns = min(max(int(width * 3 / across_mm), 4), BEAMS)
    small = gaussian_filter(rng.standard_normal((rows, columns), np.float32), 1.3, mode="nearest")
    small /= small.std() + 1e-6
    return _stretch(_stretch(small, RADIAL, 0), BEAMS, 1)


def _stretch(values: Grid, count: int, axis: int) -> Grid:
    """Return the values linearly interpolated to `count` samples along an axis."""
    place = np.linspace(0, values.shape[axis] - 1, count, dtype=np.float32)
    low = np.minimum(place.astype(np.intp), values.shape[axis] - 2)
    share = place - low
    share = share[:, None] if axis == 0 else share[None]
    return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share, np.float32)
