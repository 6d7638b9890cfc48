"""An index of images in, pairs of equal and nearly equal ones out, and the groups that they tie together.

Near-duplicates are found in two steps: a 64-bit perceptual hash (low frequencies of a cosine transform, as pHash:
Zauner 2010), then the small grey pictures themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residency.data.images import THUMB, ImageFile

NEAR_BITS = 10
"""Hashes that differ in at most this many of 64 bits are worth a comparison of the pictures."""
NEAR_DIFFERENCE = 0.15
"""Pictures that differ by less than this, brightness and contrast matched, are near-duplicates (unrelated: 1)."""
_BLOCK = 1024


@dataclass(frozen=True)
class Twin:
    """Two images that show the same picture: `same` bytes, or a `difference` of 0 (equal) to 1 (unrelated)."""

    first: str
    second: str
    same: bool
    difference: float


def hash_images(thumbs_NHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 64 bits (0 or 1) a picture, (N, 64): the sign of its 8 x 8 lowest frequencies about their median."""
    cosines = np.cos(np.pi / THUMB * np.outer(np.arange(8), np.arange(THUMB) + 0.5)).astype(np.float32)
    # Rows first, all pictures in one product; then the eight numbers of each row along its column.
    along_NHV = (thumbs_NHW.reshape(-1, THUMB).astype(np.float32) @ cosines.T).reshape(-1, THUMB, 8)
    low = (cosines @ along_NHV).reshape(-1, 64)
    return (low > np.median(low[:, 1:], axis=1, keepdims=True)).astype(np.uint8)


def find_twins(images: Sequence[ImageFile]) -> list[Twin]:
    """Return every pair of equal files and of near-duplicate pictures, in order of name."""
    images = sorted(images, key=lambda image: image.name)
    if len(images) < 2:
        return []
    thumbs = np.stack([image.thumb for image in images])
    twins = []
    for one, two in _close_pairs(hash_images(thumbs)):
        same = images[one].sha256 == images[two].sha256
        difference = 0.0 if same else _difference(thumbs[one], thumbs[two])
        if same or difference < NEAR_DIFFERENCE:
            twins.append(Twin(images[one].name, images[two].name, same, round(difference, 4)))
    return twins


def join_groups(group_of: Mapping[str, str], twins: Iterable[Twin]) -> dict[str, str]:
    """Return each group's new name where twins tie groups together: the names joined by ` + `."""
    root = {group: group for group in group_of.values()}

    def top(group: str) -> str:
        while root[group] != group:
            root[group] = group = root[root[group]]
        return group

    for twin in twins:
        if twin.first in group_of and twin.second in group_of:
            one, two = sorted((top(group_of[twin.first]), top(group_of[twin.second])))
            root[two] = one
    tied: dict[str, list[str]] = {}
    for group in sorted(root):
        tied.setdefault(top(group), []).append(group)
    names = {}
    for members in tied.values():
        name = members[0] if len(members) == 1 else " + ".join(members[:3])
        name += f" + {len(members) - 3} more" if len(members) > 3 else ""
        names.update(dict.fromkeys(members, name))
    return names


def _difference(one_HW: NDArray[np.uint8], two_HW: NDArray[np.uint8]) -> float:
    """Return how much two pictures differ once brightness and contrast are matched: 0 equal, about 1 unrelated."""
    one, two = (
        (grey - grey.mean()) / max(float(grey.std()), 1.0)
        for grey in (one_HW.astype(np.float32), two_HW.astype(np.float32))
    )
    return float(np.sqrt(np.mean((one - two) ** 2) / 2))


def _close_pairs(bits_NB: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield index pairs whose hashes are close: with bits as +1 and -1, a product of hashes is 64 - 2 distance."""
    signs = bits_NB.astype(np.float32) * 2 - 1
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        near = block @ signs[start:].T >= 64 - 2 * NEAR_BITS
        for one, two in zip(*np.nonzero(near), strict=True):
            if one < two:
                yield start + int(one), start + int(two)
