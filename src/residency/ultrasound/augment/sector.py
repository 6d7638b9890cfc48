"""Where in a picture the ultrasound is: grey levels in, the insonified sector and its probe's apex out.

The sector is what a curved array scans: two straight flanks that meet in the apex, two arcs about it. Where a picture
shows no flanks (a window of a sector, a linear array, a photograph) the lit region itself is taken, and an apex above.
"""

from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, label, uniform_filter
from scipy.spatial import ConvexHull

Levels = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grey = TypeVar("Grey", NDArray[np.float32], NDArray[np.uint8])

COARSE = 128
"""The longer side, in pixels, of the small copy on which the sector is looked for."""
LIT = 0.03
"""A level (0 to 1) above the background's that counts as lit."""
LEAST_AREA = 0.08
"""The smallest share of the picture that a sector covers."""
APEX_HEIGHT = 0.6
"""How far above the sector its apex is put where no flanks show, in shares of its height (60 mm for 100 mm)."""
PIECE = 0.05
"""The smallest lit piece that belongs to the sector, in shares of the largest one."""
ARC_SHARE = 0.3
"""How much of an arc must be lit for the sector to reach it."""
LOST_SHARE = 0.01
"""How much tissue beside a sector, in shares of it, makes its outline doubtful."""
LIT_SHARE = 0.6
"""How much of a region must be lit for its outline to be trusted without flanks and arcs."""
CONVEX_SHARE = 0.92
"""How much of its convex hull a region fills whose outline is trusted."""
RIM = 3
"""Coarse pixels inside the sector's outline, or at the picture's edge, that may be half lit."""
STRAY = 0.0005
"""The share of the picture that must be lit beside the sector for it to bear marks: a ruler, text, a logo."""


@dataclass(frozen=True)
class Sector:
    """The insonified region of a picture of H x W pixels.

    `mask_HW` is where it is, `core_HW` the same without its half-lit rim. `depth_HW` runs from 0 at the probe's face
    to 1 at the far end, `across_HW` from -1 at the left flank to 1 at the right one. `apex` is (x, y) in pixels and
    may lie outside the picture; `near` and `far` are the face's and the far end's distance from it in pixels,
    `half_angle` half the opening in radians. `sure`: the outline is that of a sector or a window of one; else dark
    tissue hides where it ends. `marked`: something lit stands beside it.
    """

    mask_HW: Mask
    core_HW: Mask
    depth_HW: Levels
    across_HW: Levels
    apex: tuple[float, float]
    near: float
    far: float
    half_angle: float
    sure: bool
    marked: bool

    def holds(self, points_N2: NDArray[np.floating]) -> Mask:
        """Return which (x, y) points in pixels lie in the sector; outside the picture none does."""
        height, width = self.mask_HW.shape
        column, row = np.floor(points_N2).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        return inside & self.mask_HW[row.clip(0, height - 1), column.clip(0, width - 1)]


def find_sector(levels_HW: Levels) -> Sector:
    """Return the sector of a picture with levels 0 to 1; the whole picture where nothing is lit."""
    height, width = levels_HW.shape
    step = max(1, -(-max(height, width) // COARSE))
    small = np.asarray(Image.fromarray(levels_HW).reduce(step), np.float32)
    floor = _background(small) + LIT
    lit = small > floor
    dense = _find_dense(levels_HW, small.shape, floor)
    body = _fill_bites(_choose_pieces(dense))
    flanks = _fit_flanks(body)
    rows, columns = np.nonzero(body)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    apex, slopes = flanks or ((columns.mean() + 0.5, top - APEX_HEIGHT * (bottom - top)), None)
    x, y = _middles(body.shape, apex)
    reach, angle = np.hypot(x, y), np.arctan2(x, np.maximum(y, 1e-3))
    near, far = (float(np.percentile(reach[body], share)) for share in (0.3, 99.7))
    left, right = np.percentile(angle[body], (0.3, 99.7))
    fitted = False
    if slopes is not None:
        left, right = np.arctan(slopes)
        wedge = (angle >= left) & (angle <= right) & (y > 0)
        arcs = _lit_arcs(lit & wedge, wedge, reach)
        near, far = min(near, *arcs), max(far, *arcs)
        shape = wedge & (reach >= near - 0.7) & (reach <= far + 0.7)
        fitted = _agree(shape, body)
        body = shape if fitted else body
    middle, half = (left + right) / 2, max((right - left) / 2, 1e-3)
    depth = ((reach - near) / max(far - near, 1.0)).clip(0, 1)
    around = binary_dilation(body, iterations=2)
    return Sector(
        mask_HW=_sharpen(body, around, levels_HW, floor),
        core_HW=spread(binary_erosion(body, iterations=RIM), height, width) > 0.5,
        depth_HW=spread(depth, height, width),
        across_HW=spread(((angle - middle) / half).clip(-1.2, 1.2), height, width),
        apex=(float(apex[0]) * step, float(apex[1]) * step),
        near=near * step,
        far=far * step,
        half_angle=float(half),
        sure=bool((dense & ~around).sum() < LOST_SHARE * body.sum())
        and (fitted or (bool(lit[body].mean() > LIT_SHARE) and _is_convex(body))),
        marked=bool((lit & ~around).mean() > STRAY),
    )


def spread(field_hw: NDArray[np.floating], height: int, width: int) -> Levels:
    """Return a coarse, smooth field at the picture's size."""
    small = Image.fromarray(np.ascontiguousarray(field_hw, np.float32))
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def lowest(grey_HW: Grey, wide: int) -> Grey:
    """Return the lowest value in the square of `wide` (odd) pixels about each; several times as fast as scipy's."""
    height, width = grey_HW.shape
    padded = np.pad(grey_HW, wide // 2, mode="edge")
    rows = reduce(np.minimum, (padded[k : k + height] for k in range(wide)))
    return reduce(np.minimum, (rows[:, k : k + width] for k in range(wide)))


def _middles(shape: tuple[int, int], apex: tuple[float, float]) -> tuple[Levels, Levels]:
    """Return each pixel's middle relative to the apex: x (1, W), y (H, 1)."""
    height, width = shape
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - apex[0])
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - apex[1])
    return x, y


def _background(small: Levels) -> float:
    """Return the screen's own level: that of the darkest corner without any texture, else 0."""
    side = max(2, min(small.shape) // 16)
    corners = [small[:side, :side], small[:side, -side:], small[-side:, :side], small[-side:, -side:]]
    flat = [float(np.median(corner)) for corner in corners if corner.std() < LIT / 8]
    return min(flat, default=0.0)


def _find_dense(levels_HW: Levels, shape: tuple[int, ...], floor: float) -> Mask:
    """Return the densely lit regions, coarse; text and rulers, thinner than three pixels of twice COARSE, are not."""
    half = Image.fromarray(levels_HW).reduce(max(1, max(levels_HW.shape) // (2 * COARSE)))
    thick = Image.fromarray(lowest(np.asarray(half, np.float32), 3))
    thick = thick.resize((shape[1], shape[0]), Image.Resampling.BOX)
    dense: Mask = uniform_filter((np.asarray(thick) > floor).astype(np.float32), 7) > 0.42
    return dense


def _choose_pieces(dense: Mask) -> Mask:
    """Return the largest piece and those not much smaller; the whole where all is dark."""
    names, _ = label(dense)
    sizes = np.bincount(names.ravel())
    sizes[0] = 0
    if sizes.sum() < LEAST_AREA * dense.size:
        return np.ones_like(dense)
    body: Mask = (sizes >= PIECE * sizes.max())[names]
    return body


def _fill_bites(body: Mask) -> Mask:
    """Return the body with its dark parts: between lit ones above and below, or at the sides with one above.

    What lies above all that is lit stays out: there a curved probe's face leaves the sector.
    """
    begun = np.logical_or.accumulate(body, 0)
    upright = begun & np.logical_or.accumulate(body[::-1], 0)[::-1]
    level = np.logical_or.accumulate(body, 1) & np.logical_or.accumulate(body[:, ::-1], 1)[:, ::-1]
    return np.asarray(upright | (level & begun))


def _lit_arcs(lit: Mask, wedge: Mask, reach: Levels) -> tuple[float, float]:
    """Return the least and the greatest distance from the apex at which enough of the wedge is lit."""
    ring = reach[wedge].astype(int)
    held, total = np.bincount(ring, lit[wedge]), np.bincount(ring)
    full = np.nonzero((held >= ARC_SHARE * total) & (total >= 8))[0]
    return (float(full[0]), float(full[-1])) if len(full) else (np.inf, 0.0)


def _is_convex(body: Mask) -> bool:
    """Return whether the body fills nearly all of its convex hull, the notch of a curved face aside."""
    rows = np.nonzero(body.any(1))[0]
    first, last = body[rows].argmax(1), body.shape[1] - body[rows, ::-1].argmax(1)
    edges = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)])
    if len(rows) < 3:
        return False
    return bool(body.sum() >= CONVEX_SHARE * ConvexHull(edges).volume)


def _fit_flanks(body: Mask) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the apex and the flanks' slopes (x a row), or None where no two flanks diverge downwards."""
    width = body.shape[1]
    rows = np.nonzero(body.any(1))[0]
    left = body[rows].argmax(1).astype(float)
    right = width - body[rows, ::-1].argmax(1).astype(float)
    widest = int((right - left).argmax()) + 1
    lines = []
    for edge, sign in ((left, 1.0), (right, -1.0)):
        free = (edge[:widest] > 1) & (edge[:widest] < width - 1)
        if free.sum() < max(8, 0.15 * len(rows)):
            return None
        lines.append(_fit_envelope(rows[:widest][free] + 0.5, edge[:widest][free], sign))
    (left_slope, left_start), (right_slope, right_start) = lines
    if not (left_slope < -0.05 and right_slope > 0.05):
        return None
    y = (right_start - left_start) / (left_slope - right_slope)
    if y > rows[0] + 0.15 * len(rows):
        return None
    return (left_start + left_slope * y, y), (left_slope, right_slope)


def _fit_envelope(rows: NDArray[np.float64], edge: NDArray[np.float64], sign: float) -> tuple[float, float]:
    """Return slope and start of the line along an edge's outermost points: dark tissue at a flank bites inwards."""
    weight, slope, start = np.ones_like(edge), 0.0, 0.0
    for _ in range(8):
        total = weight.sum()
        row, column = (weight @ rows) / total, (weight @ edge) / total
        slope = float((weight * (rows - row)) @ (edge - column) / max((weight * (rows - row)) @ (rows - row), 1e-9))
        start = float(column - slope * row)
        weight = np.where(sign * (edge - (slope * rows + start)) > 0.75, 0.0025, 1.0)
    return slope, start


def _agree(shape: Mask, body: Mask) -> bool:
    """Return whether the fitted sector holds all but little of the lit body, and not much that is dark."""
    both = (shape & body).sum()
    return bool(both >= 0.96 * body.sum() and both >= 0.45 * shape.sum())


def _sharpen(body: Mask, around: Mask, levels_HW: Levels, floor: float) -> Mask:
    """Return the mask at the picture's size; at its rim, where it is coarse, only what is lit."""
    height, width = levels_HW.shape
    inner = ~binary_dilation(~body, iterations=2)
    small = np.where(inner, 255, np.where(around & body, 128, 0)).astype(np.uint8)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))
    return (large == 255) | ((large == 128) & (levels_HW > floor))
