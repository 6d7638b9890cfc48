"""Text with location tokens in, the labelled places that it tells out: Florence-2's notation, and PaliGemma's.

Florence-2 says `label<loc_x0><loc_y0><loc_x1><loc_y1>`, 0 to 999 of the picture's sides; PaliGemma
`<locY0><locX0><locY1><locX1> label ; ...`, 0 to 1023 (methods: "Boxes and outlines in words").
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from residency.types import Box, Outline
from residency.ultrasound.outline import DIRECTIONS

PLACES = re.compile(r"(?:<loc_\d{1,3}>)+|(?:<loc\d{4}>)+")
"""A run of location tokens, of either notation."""
_BIN = re.compile(r"\d+")
_BINS, _OWN_BINS = 1000, 1024
_EDGE = " ,;.\n"


@dataclass(frozen=True)
class Told:
    """One run of location tokens: its label, its points (P, 2) as (x, y) in shares of the sides, at the middle of
    their bins, and where label and run stand in the text."""

    label: str
    points_P2: np.ndarray
    start: int
    end: int


def read_told(text: str) -> list[Told]:
    """Return the runs of location tokens in order; one without a label has the label of the one before it."""
    runs = list(PLACES.finditer(text))
    if not runs:
        return []
    read = _read_after_labels if runs[0][0].startswith("<loc_") else _read_before_labels
    return read(text, runs)


def boxes_of(told: Told, size: tuple[int, int]) -> list[Box]:
    """Return a run as boxes in pixels of a picture of (width, height): four numbers each, those without area left out.

    What is left over behind the last four is no box.
    """
    corners_N4 = told.points_P2[: len(told.points_P2) // 2 * 2].reshape(-1, 4) * (*size, *size)
    return [
        Box(label=told.label, xyxy=(x0, y0, x1, y1)) for x0, y0, x1, y1 in corners_N4.tolist() if x1 > x0 and y1 > y0
    ]


def outlines_of(told: Told, size: tuple[int, int]) -> list[Outline]:
    """Return a run as outlines in pixels: of as many points as we tell each by, else one polygon of all its points."""
    count = len(told.points_P2)
    if count < 3:
        return []
    parts = np.split(told.points_P2, count // DIRECTIONS if count % DIRECTIONS == 0 else 1)
    return [Outline(label=told.label, points=tuple(map(tuple, (part * size).tolist()))) for part in parts]


def _read_after_labels(text: str, runs: Sequence[re.Match[str]]) -> list[Told]:
    found: list[Told] = []
    start, label = 0, ""
    for run in runs:
        label = text[start : run.start()].strip(_EDGE) or label
        points_P2 = (_pairs(run[0]) + 0.5) / _BINS
        found.append(Told(label, points_P2, start, run.end()))
        start = run.end()
    return found


def _read_before_labels(text: str, runs: Sequence[re.Match[str]]) -> list[Told]:
    found: list[Told] = []
    label = ""
    ends = [*(run.start() for run in runs[1:]), len(text)]
    for run, end in zip(runs, ends, strict=True):
        end = text.find(";", run.end(), end) if ";" in text[run.end() : end] else end
        label = text[run.end() : end].strip(_EDGE) or label
        points_P2 = (_pairs(run[0])[:, ::-1] + 0.5) / _OWN_BINS
        found.append(Told(label, points_P2, run.start(), end))
    return found


def _pairs(run: str) -> np.ndarray:
    """Return a run's numbers two by two (P, 2); an odd last one tells no place."""
    bins = [int(number) for number in _BIN.findall(run)]
    return np.array(bins[: len(bins) // 2 * 2], float).reshape(-1, 2)
