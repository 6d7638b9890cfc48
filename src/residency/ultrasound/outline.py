"""Outlines in words and what they measure: points in shares of a picture's sides in, location tokens or mm out.

Florence-2 says a polygon as `<loc_x><loc_y>` pairs, 0 to 999 of each side (methods: "Boxes and outlines in words").
"""

import re

import numpy as np

DIRECTIONS = 12
"""An outline is told by its points in this many directions from its box's centre, clockwise from the right."""
BINS = 1000
TOLD_BIN = re.compile(r"<loc_(\d{1,3})>")


def tell_outline(points_P2: np.ndarray) -> str:
    """Return a closed polygon as location tokens: its points in `DIRECTIONS` directions, so that each has a meaning.

    Directions are taken with the box squeezed to a square; where a ray meets the polygon twice, the farther point.
    """
    low, high = points_P2.min(0), points_P2.max(0)
    dense_P2 = _fill_in(points_P2)
    turned_P2 = (dense_P2 - (low + high) / 2) / np.maximum(high - low, 1e-6)
    angle_P = np.arctan2(turned_P2[:, 1], turned_P2[:, 0])
    wanted_D = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    apart_DP = np.abs((angle_P[None] - wanted_D[:, None] + np.pi) % (2 * np.pi) - np.pi)
    reach_P = np.hypot(*turned_P2.T)
    nearest = [int(np.lexsort((-reach_P, apart_P.round(1)))[0]) for apart_P in apart_DP]
    return tell_points(dense_P2[nearest])


def tell_points(points_P2: np.ndarray) -> str:
    """Return points as location tokens, one an axis."""
    bins = (points_P2 * BINS).astype(int).clip(0, BINS - 1)
    return "".join(f"<loc_{bin}>" for bin in bins.ravel())


def read_points(text: str) -> np.ndarray:
    """Return the points (P, 2) that location tokens tell, at the middle of their bins; an odd last token is dropped."""
    bins = [int(bin) for bin in TOLD_BIN.findall(text)]
    return (np.array(bins[: len(bins) // 2 * 2], float).reshape(-1, 2) + 0.5) / BINS


def measure_circumference(points_P2: np.ndarray, field_mm: tuple[float, float]) -> float | None:
    """Return the circumference in mm of the ellipse that fits an outline best; None where none does.

    Points are in shares of the sides of a picture that spans `field_mm`. Ramanujan's second approximation (1914).
    """
    halves = fit_ellipse(points_P2 * field_mm)
    if halves is None:
        return None
    a, b = halves
    h = ((a - b) / (a + b)) ** 2
    return float(np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))


def fit_ellipse(points_P2: np.ndarray) -> tuple[float, float] | None:
    """Return the half axes of the ellipse with the least algebraic distance to points; None where it is none.

    Halir and Flusser, WSCG 1998: Fitzgibbon's direct fit (1999), numerically stable.
    """
    if len(np.unique(points_P2, axis=0)) < 5 or np.linalg.matrix_rank(points_P2 - points_P2.mean(0), rtol=1e-6) < 2:
        return None
    spread = points_P2.std()
    x, y = ((points_P2 - points_P2.mean(0)) / spread).T
    square_P3, plain_P3 = np.stack([x * x, x * y, y * y], 1), np.stack([x, y, np.ones_like(x)], 1)
    down = -np.linalg.pinv(plain_P3.T @ plain_P3) @ plain_P3.T @ square_P3
    reduced = square_P3.T @ square_P3 + square_P3.T @ plain_P3 @ down
    _, vectors = np.linalg.eig(np.array([[0, 0, 0.5], [0, -1, 0], [0.5, 0, 0]]) @ reduced)
    conics = np.real(vectors.T)
    elliptic = conics[4 * conics[:, 0] * conics[:, 2] - conics[:, 1] ** 2 > 0]
    if not len(elliptic):
        return None
    a, b, c = elliptic[0]
    d, e, f = down @ elliptic[0]
    quadratic = np.array([[a, b / 2], [b / 2, c]])
    centre = np.linalg.solve(2 * quadratic, [-d, -e])
    level = centre @ quadratic @ centre - f
    squares = level / np.linalg.eigvalsh(quadratic)
    if (squares <= 0).any():
        return None
    halves = np.sort(np.sqrt(squares))[::-1] * spread
    return float(halves[0]), float(halves[1])


def _fill_in(points_P2: np.ndarray, between: int = 8) -> np.ndarray:
    """Return a closed polygon's points with others between them."""
    share = np.arange(between)[None, :, None] / between
    ends_P2 = np.roll(points_P2, -1, axis=0)
    return (points_P2[:, None] * (1 - share) + ends_P2[:, None] * share).reshape(-1, 2)
