"""True and told outlines in; the overlap of their regions (Dice, IoU) and the error of the circumference in mm out.

Regions are run-length masks of `pycocotools` at the original's pixels; several outlines of a picture are one region.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from residency.evaluate.metric import Floats, Metric, Tally, mean_tally
from residency.evaluate.places import Marked
from residency.types import Outline
from residency.ultrasound.outline import measure_circumference

DICE, IOU = Metric("Dice"), Metric("IoU of regions")
LENGTH_ERROR = Metric("error of the circumference in mm", higher_is_better=False, bounded=False)
LENGTH_BIAS = Metric("bias of the circumference in mm", bounded=False)


def tally_outlines(truths: Sequence[Marked], told: Sequence[Marked | None]) -> list[Tally]:
    """Return the mean Dice and IoU over pictures, nothing told counting 0; and where spacing is known, in mm, the mean
    absolute error of the circumference and the mean error, over the outlines that an ellipse fits."""
    shares_N2 = np.array([overlap_regions(truth, one) for truth, one in zip(truths, told, strict=True)]).reshape(-1, 2)
    tallies = [mean_tally(DICE, shares_N2[:, 0]), mean_tally(IOU, shares_N2[:, 1])]
    if any(truth.spacing_mm for truth in truths):
        errors_N: Floats = np.array([length_error(truth, one) for truth, one in zip(truths, told, strict=True)])
        tallies += [mean_tally(LENGTH_ERROR, np.abs(errors_N)), mean_tally(LENGTH_BIAS, errors_N)]
    return tallies


def overlap_regions(truth: Marked, told: Marked | None) -> tuple[float, float]:
    """Return Dice and IoU of a picture's regions: 0 where nothing is told of something, 1 where there is nothing."""
    from pycocotools import mask

    if told is None or not told.outlines or not truth.outlines:
        alike = float(bool(truth.outlines) == bool(told and told.outlines))
        return alike, alike
    true_region, told_region = fill_outlines(truth), fill_outlines(told)
    shared = float(mask.area(mask.merge([true_region, told_region], intersect=True)))
    sizes = float(mask.area(true_region)) + float(mask.area(told_region))
    if not sizes:
        return 0.0, 0.0
    return 2 * shared / sizes, shared / (sizes - shared)


def fill_outlines(marked: Marked) -> Any:
    """Return the region within a picture's outlines as a run-length mask."""
    from pycocotools import mask

    width, height = marked.size
    rings = [np.array(outline.points).ravel().tolist() for outline in marked.outlines]
    return mask.merge(mask.frPyObjects(rings, height, width))


def length_error(truth: Marked, told: Marked | None) -> float:
    """Return by how many mm the told circumference is too long (NaN: no spacing, no outline, or no ellipse fits)."""
    true_mm = circumference(truth)
    told_mm = circumference(told) if told else None
    return float("nan") if true_mm is None or told_mm is None else told_mm - true_mm


def circumference(marked: Marked) -> float | None:
    """Return the circumference in mm of the ellipse that fits the largest outline (None: it has none)."""
    if marked.spacing_mm is None or not marked.outlines:
        return None
    width, height = marked.size
    row_mm, column_mm = marked.spacing_mm
    points_P2 = np.array(max(marked.outlines, key=_area).points) / (width, height)
    return measure_circumference(points_P2, (width * column_mm, height * row_mm))


def _area(outline: Outline) -> float:
    """Return the area within an outline in square pixels (the shoelace formula)."""
    x_P, y_P = np.array(outline.points).T
    return abs(float(x_P @ np.roll(y_P, -1) - y_P @ np.roll(x_P, -1))) / 2
