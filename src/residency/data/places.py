"""Boxes and outlines as a source gives them in, valid ones in pixels and their text in location tokens out.

Florence-2 says `label<loc_x0><loc_y0><loc_x1><loc_y1>`, 0 to 999 of the image's sides; an outline is a longer run of
points (methods: "Boxes and outlines in words").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from residency.types import Box, Outline, Problem, Source
from residency.ultrasound.outline import tell_outline, tell_points

EDGE = 1.5
"""Pixels by which a box may cross the picture's border (counting from 1, or rounding) and is cut there silently."""


@dataclass(frozen=True)
class Mark:
    """One labelled place as its source writes it: two points (corners of a box) or more (an outline).

    Points are pixels of the original, or shares of its sides where `shares` is set. A box that comes as an outline's
    enclosing box is a Mark of its own.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    source: Source
    shares: bool = False


@dataclass(frozen=True)
class Places:
    """The valid boxes and outlines of one image, their `text` in location tokens, a problem for each bad one.

    A mark that stands twice counts once, with a flag. Text leaves labels out unless `labelled`.
    """

    boxes: tuple[Box, ...] = ()
    outlines: tuple[Outline, ...] = ()
    problems: tuple[Problem, ...] = ()
    flags: tuple[Problem, ...] = ()
    text: str = ""


def settle_marks(marks: Sequence[Mark], size: tuple[int, int], *, labelled: bool = True) -> Places:
    """Check marks against the picture's (width, height): no area, or outside of it, is a problem of that mark alone."""
    boxes: list[Box] = []
    outlines: list[Outline] = []
    problems, flags = [], []
    firsts: dict[object, Mark] = {}
    for mark in marks:
        if (first := firsts.setdefault((mark.label, mark.points), mark)) is not mark:
            message = f"`{mark.label}` is marked here as in {first.source}: it counts once"
            flags.append(Problem(kind="repeated-mark", message=message, source=mark.source))
            continue
        scale_2 = np.array(size if mark.shares else (1, 1), float)
        points_P2 = np.array(mark.points, float) * scale_2
        if fault := _find_fault(points_P2, size):
            shown = ", ".join(f"{value:g}" for value in points_P2.ravel()[:8])
            kind = "box" if len(points_P2) == 2 else "outline"
            message = f"`{mark.label}` {kind} [{shown}] {fault}"
            problems.append(Problem(kind=f"invalid-{kind}", message=message, source=mark.source))
            continue
        cut_P2 = points_P2.clip(0, size)
        if len(cut_P2) == 2:
            (x0, y0), (x1, y1) = cut_P2.tolist()
            boxes.append(Box(label=mark.label, xyxy=(x0, y0, x1, y1)))
        else:
            outlines.append(Outline(label=mark.label, points=tuple((x, y) for x, y in cut_P2.tolist())))
    return Places(
        tuple(boxes), tuple(outlines), tuple(problems), tuple(flags), tell_places(boxes, outlines, size, labelled)
    )


def tell_places(boxes: Sequence[Box], outlines: Sequence[Outline], size: tuple[int, int], labelled: bool) -> str:
    """Return boxes and outlines in location tokens, by label; those of one label from left to right ('' if none)."""
    told: list[tuple[str, tuple[float, ...], str]] = [
        (box.label, box.xyxy, tell_points(np.array(box.xyxy).reshape(2, 2) / size)) for box in boxes
    ]
    for outline in outlines:
        points_P2 = np.array(outline.points) / size
        told.append((outline.label, tuple(points_P2.min(0)), tell_outline(points_P2)))
    return "".join((label if labelled else "") + tokens for label, _, tokens in sorted(told, key=lambda item: item[:2]))


def _find_fault(points_P2: np.ndarray, size: tuple[int, int]) -> str | None:
    """Return what is wrong with points in pixels, or None."""
    if not all(math.isfinite(value) for value in points_P2.ravel()):
        return "has a corner that is no number"
    low, high = (points_P2[0], points_P2[1]) if len(points_P2) == 2 else (points_P2.min(0), points_P2.max(0))
    if not (high > low).all():
        return "has no area"
    if (low < -EDGE).any() or (high > np.array(size) + EDGE).any():
        return f"lies outside the picture of {size[0]} x {size[1]} pixels"
    return None if (high.clip(0, size) > low.clip(0, size)).all() else "has no area within the picture"
