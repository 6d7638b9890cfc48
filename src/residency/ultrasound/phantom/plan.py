"""What is to be drawn: the patient's state in, a body part's size, painter and answers out (records only)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from residency.ultrasound.phantom.canvas import Canvas, Pose

Painter = Callable[[Canvas, Pose, Generator], None]
Span = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Subject:
    """A patient's state at a study: gestational age in weeks, size relative to the mean, an abnormal finding."""

    weeks: float
    growth: float = 1.0
    finding: str | None = None


@dataclass(frozen=True)
class Plan:
    """One body part in one plane.

    `half_u` and `half_v` are the half extents in mm that must fit the sector; `turn` the angle of u in the image
    (radians, clockwise from the right), `mirrored` flips v. `orient` names the orientation of a pose, `plane` the
    plane. `measurable` are the names of q4, `measures` true sizes in mm (degrees for an angle), `spans` the local
    end points of what calipers measure. `afloat` means fluid about it, `middle` the local point that is centred.
    """

    half_u: float
    half_v: float
    turn: float
    mirrored: bool
    paint: Painter
    orient: Callable[[Pose], str]
    plane: str
    measurable: tuple[str, ...]
    measures: Mapping[str, float]
    spans: Mapping[str, Span] = field(default_factory=dict)
    normal_finding: str | None = None
    probe: str = "convex"
    afloat: bool = True
    middle: tuple[float, float] = (0.0, 0.0)


def lie_across(rng: Generator, spread: float = 0.35, loose: float = 0.2) -> float:
    """Return an angle near the horizontal, pointing right or left; any angle for the share `loose`."""
    if rng.random() < loose:
        return float(rng.uniform(-np.pi, np.pi))
    return float(rng.normal(0, spread) + (np.pi if rng.random() < 0.5 else 0))


def side_of(heading: tuple[float, float]) -> str:
    """Return the image side, `left`, `right`, `top` or `bottom`, that a direction (x right, y down) points to."""
    x, y = heading
    if abs(x) >= abs(y):
        return "right" if x > 0 else "left"
    return "bottom" if y > 0 else "top"


def hand_of(heading: tuple[float, float]) -> str:
    """Return `left` or `right`: where in the image a direction points."""
    return "right" if heading[0] > 0 else "left"
