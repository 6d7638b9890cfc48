"""A large picture's size in, overlapping square tiles and crops out; boxes between a tile's pixels and the whole's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residency.types import Box

WHOLE_SHARE = 0.6
"""A box belongs to a tile that holds at least this share of its area."""
SAME_IOU, SAME_INNER = 0.3, 0.6
"""Two boxes of one label are one finding where their intersection is so much of their union, or of the smaller one."""
EDGE = 0.012
"""A box this near to a tile's inner border, in shares of its side, is cut there, and a neighbour has it whole."""


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture in pixels, x1 and y1 beyond the last."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.x1 - self.x0, self.y1 - self.y0

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """What Pillow crops by."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True)
class Seen:
    """A box in pixels of the whole picture and how sure it is (the larger the surer)."""

    box: Box
    sure: float


def cut_tiles(width: int, height: int, side: int, overlap: float = 0.25) -> list[Region]:
    """Return square tiles that cover a picture, row by row, evenly spaced; neighbours share at least `overlap`.

    A picture not larger than a tile is one region, itself.
    """
    across, down = (_starts(length, side, overlap) for length in (width, height))
    return [Region(x, y, min(x + side, width), min(y + side, height)) for y in down for x in across]


def crop_around(boxes: Sequence[Box], size: tuple[int, int], side: int, most: int) -> list[Region]:
    """Return a square region around each of the first `most` boxes, at least `side` wide and twice the box."""
    regions = []
    for box in boxes[:most]:
        x0, y0, x1, y1 = box.xyxy
        edge = min(max(side, round(2 * (x1 - x0)), round(2 * (y1 - y0))), *size)
        left, top = (
            round(min(max(0, middle - edge / 2), length - edge))
            for middle, length in zip(((x0 + x1) / 2, (y0 + y1) / 2), size, strict=True)
        )
        regions.append(Region(left, top, left + edge, top + edge))
    return list(dict.fromkeys(regions))


def frame_marks(
    points_P2: NDArray[np.float64], size: tuple[int, int], times: float, shift_2: Sequence[float] = (0.0, 0.0)
) -> Region:
    """Return a region of the picture's shape, `times` as wide as what the points (in pixels) span along one side.

    `shift_2` moves it, from -1 to 1 of the room that is left beside them. It may reach beyond the picture: black.
    """
    low_2, high_2 = points_P2.min(0), points_P2.max(0)
    half_2 = np.array(size) * (((high_2 - low_2) / size).max() * times / 2)
    middle_2 = (low_2 + high_2) / 2 + np.array(shift_2) * (half_2 - (high_2 - low_2) / 2)
    (x0, y0), (x1, y1) = (middle_2 - half_2).round().astype(int), (middle_2 + half_2).round().astype(int)
    return Region(int(x0), int(y0), max(int(x1), int(x0) + 1), max(int(y1), int(y0) + 1))


def boxes_within(boxes: Sequence[Box], region: Region) -> list[Box]:
    """Return the boxes that a region holds, most of each, cut at its border, in its own pixels."""
    width, height = region.size
    held = []
    for box in boxes:
        x0, y0, x1, y1 = box.xyxy
        cut = np.clip([x0 - region.x0, y0 - region.y0, x1 - region.x0, y1 - region.y0], 0, (width, height) * 2)
        if (cut[2] - cut[0]) * (cut[3] - cut[1]) >= WHOLE_SHARE * (x1 - x0) * (y1 - y0):
            held.append(Box(label=box.label, xyxy=(float(cut[0]), float(cut[1]), float(cut[2]), float(cut[3]))))
    return held


def place_boxes(boxes: Sequence[Box], region: Region) -> list[Box]:
    """Return a region's boxes in pixels of the whole picture."""
    move = (region.x0, region.y0) * 2
    return [
        box.model_copy(update={"xyxy": tuple(value + by for value, by in zip(box.xyxy, move, strict=True))})
        for box in boxes
    ]


def is_cut(box: Box, region: Region, size: tuple[int, int]) -> bool:
    """Tell whether a box (of the whole picture) ends at a region's border that is not the picture's own."""
    near = EDGE * max(region.size)
    x0, y0, x1, y1 = box.xyxy
    return bool(
        (region.x0 > 0 and x0 - region.x0 < near)
        or (region.y0 > 0 and y0 - region.y0 < near)
        or (region.x1 < size[0] and region.x1 - x1 < near)
        or (region.y1 < size[1] and region.y1 - y1 < near)
    )


def merge_boxes(seen: Sequence[Seen]) -> list[Seen]:
    """Return one box for each finding: the surest of those of one label that overlap, the surest findings first."""
    kept: list[Seen] = []
    for one in sorted(seen, key=lambda one: (-one.sure, one.box.xyxy)):
        same = [other.box for other in kept if other.box.label == one.box.label]
        if not same or not _overlap(one.box, same):
            kept.append(one)
    return kept


def _overlap(box: Box, others: Sequence[Box]) -> bool:
    one_4, many_N4 = np.array(box.xyxy), np.array([other.xyxy for other in others])
    sides_N2 = np.minimum(one_4[2:], many_N4[:, 2:]) - np.maximum(one_4[:2], many_N4[:, :2])
    both_N = sides_N2.clip(0).prod(1)
    areas_N, area = _areas(many_N4), float(_areas(one_4[None])[0])
    return bool(
        ((both_N > SAME_IOU * (areas_N + area - both_N)) | (both_N > SAME_INNER * np.minimum(areas_N, area))).any()
    )


def _areas(boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    areas_N: NDArray[np.float64] = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(1)
    return areas_N


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - overlap)))) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]
