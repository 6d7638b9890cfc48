"""Shapes of a drawing: their measures in mm in, signed distances over a grid and outlines in mm out.

Coordinates are local to a body part: u along its main axis, v across it. Distances are negative inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]
Points = NDArray[np.float64]
FAR = np.float32(1e3)


class Shape(Protocol):
    """What the canvas paints: a region with a centre, a radius that holds it whole, a distance and an outline."""

    @property
    def centre(self) -> tuple[float, float]:
        """The middle (u, v) in mm."""
        ...

    @property
    def reach(self) -> float:
        """The radius in mm about the centre that holds the shape."""
        ...

    def distance(self, u: Grid, v: Grid) -> Grid:
        """Return the signed distance to the edge in mm, accurate near the edge."""
        ...

    def outline(self) -> Points:
        """Return the edge as (N, 2) points in mm."""
        ...


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with semi-axes a, b (mm), turned by `angle`; `wobble` holds (order, amplitude, phase) of its edge."""

    u: float
    v: float
    a: float
    b: float
    angle: float = 0.0
    wobble: tuple[tuple[int, float, float], ...] = ()

    @property
    def centre(self) -> tuple[float, float]:
        """The middle (u, v) in mm."""
        return self.u, self.v

    @property
    def reach(self) -> float:
        """The longer semi-axis with its wobble."""
        return max(self.a, self.b) * (1 + sum(abs(amplitude) for _, amplitude, _ in self.wobble))

    def distance(self, u: Grid, v: Grid) -> Grid:
        """Return the first-order signed distance: (f - 1) / |grad f| of f = (p/a)^2 + (q/b)^2."""
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        du, dv = u - np.float32(self.u), v - np.float32(self.v)
        p, q = (cos * du + sin * dv) / np.float32(self.a), (cos * dv - sin * du) / np.float32(self.b)
        level = p * p + q * q
        if self.wobble:
            level = level / self._swell(np.arctan2(q, p)) ** 2
        slope = np.sqrt((p / np.float32(self.a)) ** 2 + (q / np.float32(self.b)) ** 2)
        return np.asarray((level - 1) / (2 * slope + np.float32(1e-4)), np.float32)

    def outline(self, count: int = 48) -> Points:
        """Return `count` points of the edge."""
        phase = np.linspace(0, 2 * np.pi, count, endpoint=False)
        swell = self._swell(phase)
        p, q = self.a * swell * np.cos(phase), self.b * swell * np.sin(phase)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.u + cos * p - sin * q, self.v + sin * p + cos * q], 1)

    def grown(self, by: float) -> "Ellipse":
        """Return the ellipse with both semi-axes longer by `by` mm (shorter where negative), at least 0.2 mm."""
        return Ellipse(self.u, self.v, max(self.a + by, 0.2), max(self.b + by, 0.2), self.angle, self.wobble)

    def _swell(self, phase: NDArray[np.floating]) -> NDArray[np.floating]:
        swell = np.ones_like(phase)
        for order, amplitude, shift in self.wobble:
            swell = swell + np.float32(amplitude) * np.cos(np.float32(order) * phase + np.float32(shift))
        return swell


@dataclass(frozen=True)
class Tube:
    """A bent tube along points (u, v), with a radius in mm at each point."""

    points: tuple[tuple[float, float], ...]
    radii: tuple[float, ...]

    @cached_property
    def centre(self) -> tuple[float, float]:
        """The middle of the points' box."""
        low, high = np.min(self.points, 0), np.max(self.points, 0)
        return float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2

    @cached_property
    def reach(self) -> float:
        """The farthest point's distance from the centre, with the widest radius."""
        return float(np.hypot(*(np.asarray(self.points) - self.centre).T).max() + max(self.radii))

    def distance(self, u: Grid, v: Grid) -> Grid:
        """Return the distance to the nearest segment less the radius there."""
        best = np.full(u.shape, FAR, np.float32)
        for along, across, _, span, radius, slope in self._segments(u, v):
            best = np.minimum(best, across - (np.float32(radius) + np.float32(slope) * along / np.float32(span)))
        return best

    def strand(self, u: Grid, v: Grid, beam_u: Grid, beam_v: Grid) -> tuple[Grid, Grid]:
        """Return the distance to the middle line, and |cosine| between its normal and the beam."""
        best, facing = np.full(u.shape, FAR, np.float32), np.zeros(u.shape, np.float32)
        for _, across, (tu, tv), _, _, _ in self._segments(u, v):
            nearer = across < best
            best = np.where(nearer, across, best)
            facing = np.where(nearer, np.abs(beam_u * np.float32(-tv) + beam_v * np.float32(tu)), facing)
        return best, facing

    def outline(self) -> Points:
        """Return the edge: one side forward, the other back."""
        points = np.asarray(self.points, float)
        tangent = np.gradient(points, axis=0)
        tangent /= np.hypot(*tangent.T)[:, None] + 1e-9
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) * np.asarray(self.radii)[:, None]
        return np.concatenate([points + normal, (points - normal)[::-1]])

    def _segments(self, u: Grid, v: Grid) -> "list[tuple[Grid, Grid, tuple[float, float], float, float, float]]":
        found = []
        for (u0, v0), (u1, v1), r0, r1 in zip(
            self.points[:-1], self.points[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            span = float(np.hypot(u1 - u0, v1 - v0)) + 1e-6
            tu, tv = (u1 - u0) / span, (v1 - v0) / span
            du, dv = u - np.float32(u0), v - np.float32(v0)
            along = np.clip(du * np.float32(tu) + dv * np.float32(tv), 0, np.float32(span))
            across = np.hypot(du - along * np.float32(tu), dv - along * np.float32(tv))
            found.append((along, across, (tu, tv), span, r0, r1 - r0))
        return found


@dataclass(frozen=True)
class Merged:
    """Several shapes grown together, with fillets about `fillet` mm wide."""

    shapes: tuple[Shape, ...]
    fillet: float = 2.0

    @cached_property
    def centre(self) -> tuple[float, float]:
        """The middle of the outline's box."""
        edge = np.concatenate([shape.outline() for shape in self.shapes])
        middle = (edge.min(0) + edge.max(0)) / 2
        return float(middle[0]), float(middle[1])

    @cached_property
    def reach(self) -> float:
        """The farthest edge point's distance from the centre."""
        edge = np.concatenate([shape.outline() for shape in self.shapes])
        return float(np.hypot(*(edge - self.centre).T).max() + self.fillet)

    def distance(self, u: Grid, v: Grid) -> Grid:
        """Return the polynomial smooth minimum of the distances (Quilez, "smooth minimum")."""
        total = self.shapes[0].distance(u, v)
        k = np.float32(self.fillet)
        for shape in self.shapes[1:]:
            other = shape.distance(u, v)
            blend = np.maximum(k - np.abs(total - other), 0) / k
            total = np.minimum(total, other) - blend * blend * k / 4
        return total

    def outline(self) -> Points:
        """Return the edge points that lie in no other shape, in order of their angle about the centre."""
        kept = []
        for shape in self.shapes:
            edge = shape.outline()
            u, v = edge[:, 0].astype(np.float32), edge[:, 1].astype(np.float32)
            others = [other.distance(u, v) for other in self.shapes if other is not shape]
            kept.append(edge[np.min(others, 0) > -0.1])
        points = np.concatenate(kept)
        return points[np.argsort(np.arctan2(points[:, 1] - self.centre[1], points[:, 0] - self.centre[0]))]


def bend(points: Sequence[tuple[float, float]], radius: float | Sequence[float], count: int = 7) -> Tube:
    """Return a tube along a smooth curve through the points (quadratic or cubic through all of them).

    `radius` is one radius in mm or one at each of the given points.
    """
    given = np.asarray(points, float)
    step = np.linspace(0, 1, len(given))
    fine = np.linspace(0, 1, count)
    degree = min(len(given) - 1, 3)
    curve = np.stack([np.polyval(np.polyfit(step, given[:, axis], degree), fine) for axis in (0, 1)], 1)
    radii = np.interp(fine, step, np.broadcast_to(np.asarray(radius, float), len(given)))
    return Tube(tuple((float(u), float(v)) for u, v in curve), tuple(float(r) for r in radii))
