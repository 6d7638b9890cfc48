"""COCO's run-length masks in (plain counts, or letters), regions out.

Read here and not by pycocotools, which writes beyond its picture where the counts are too long.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

_FIRST, _FIVE_BITS, _SIGN, _MORE = 48, 0x1F, 0x10, 0x20
_LONGEST = 13
"""Letters of one count: 13 x 5 bits hold more than 2**63."""


def decode_runs(told: dict[str, Any]) -> np.ndarray | None:
    """Return the region (height, width) of runs that go down the columns, off and on in turn; None where they do not
    cover the picture exactly."""
    size, counts = told.get("size"), told.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        return None
    runs = read_letters(counts) if isinstance(counts, str) else counts
    if not (isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)):
        return None
    height, width = size
    if sum(runs) != height * width:
        return None
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def read_letters(letters: str) -> list[int] | None:
    """Return the counts that COCO's letters tell: five bits a letter, from the third on as the change of the last but
    one (maskApi.c, rleFrString); None where they end within a count."""
    counts: list[int] = []
    bits: list[int] = []
    for letter in letters:
        bits.append(ord(letter) - _FIRST)
        if not 0 <= bits[-1] < 2 * _MORE or len(bits) > _LONGEST:
            return None
        if not bits[-1] & _MORE:
            counts.append(_join(bits) + (counts[-2] if len(counts) > 2 else 0))
            bits = []
    return None if bits else counts


def _join(bits: Sequence[int]) -> int:
    value = sum((five & _FIVE_BITS) << 5 * place for place, five in enumerate(bits))
    return value - (1 << 5 * len(bits)) if bits[-1] & _SIGN else value
