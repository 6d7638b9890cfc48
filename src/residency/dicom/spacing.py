"""A DICOM header in, the size of a pixel in mm out, or why it is not known; nothing is guessed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from residency.dicom.header import Refused, guarded

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from residency.dicom.pixels import Shape

_CENTIMETRES = 3
_PLANE = 1
"""RegionSpatialFormat 1: a two-dimensional picture (PS3.3 C.8.5.5)."""
_LARGEST = 10.0
_SAME = 0.01
"""Scales of two regions count as one where they differ by at most 1%."""


@dataclass(frozen=True, slots=True)
class Scale:
    """`spacing_mm` is (row, column) in mm a pixel; where it is None, `why` says what was found instead."""

    spacing_mm: tuple[float, float] | None
    why: str = ""


def read_scale(header: "Dataset", shape: "Shape") -> Scale:
    """Return the pixel's size from the ultrasound regions, else from PixelSpacing.

    Regions count where they are two-dimensional, in cm and inside the picture: files that were made smaller after the
    regions were written are common, and their scale is wrong by that factor.
    """
    try:
        with guarded("its scale"):
            return _find_scale(header, shape)
    except Refused:
        return Scale(None, "what it states of a pixel's size is damaged")


def _find_scale(header: "Dataset", shape: "Shape") -> Scale:
    regions = header.get("SequenceOfUltrasoundRegions") or ()
    if planes := [region for region in regions if _is_plane(region)]:
        return _of_regions(planes, shape)
    spacing = header.get("PixelSpacing") or _shared_spacing(header)
    if spacing is None or spacing == "":
        return Scale(None, "the file states no size of a pixel")
    if not isinstance(spacing, Sequence) or isinstance(spacing, str) or len(spacing) != 2:
        return Scale(None, "PixelSpacing is not two numbers")
    return _checked(float(spacing[0]), float(spacing[1]))


def _is_plane(region: "Dataset") -> bool:
    units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
    return region.get("RegionSpatialFormat") == _PLANE and units == (_CENTIMETRES, _CENTIMETRES)


def _of_regions(regions: "Sequence[Dataset]", shape: "Shape") -> Scale:
    scales = []
    for region in regions:
        left, top = int(region.RegionLocationMinX0), int(region.RegionLocationMinY0)
        right, bottom = int(region.RegionLocationMaxX1), int(region.RegionLocationMaxY1)
        # Machines write the last pixel or the one after it.
        if not (0 <= left < right <= shape.columns and 0 <= top < bottom <= shape.rows):
            return Scale(None, "its ultrasound regions lie outside the picture: it was cut or made smaller")
        scales.append((10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX))))
    first = scales[0]
    if any(not math.isclose(a, b, rel_tol=_SAME) for other in scales for a, b in zip(first, other, strict=True)):
        return Scale(None, "its ultrasound regions have several scales")
    return _checked(*first)


def _shared_spacing(header: "Dataset") -> Any:
    for group in (header.get("SharedFunctionalGroupsSequence") or ())[:1]:
        for measures in (group.get("PixelMeasuresSequence") or ())[:1]:
            return measures.get("PixelSpacing")
    return None


def _checked(row: float, column: float) -> Scale:
    if all(math.isfinite(side) and 0 < side < _LARGEST for side in (row, column)):
        return Scale((round(row, 6), round(column, 6)))
    return Scale(None, f"its pixel would measure {row:g} x {column:g} mm")
