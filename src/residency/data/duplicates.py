"""An index of images in, pairs of equal and nearly equal ones out, and the groups that they tie together.

Near-duplicates are found in two steps: a 64-bit perceptual hash (low frequencies of a cosine transform, as pHash:
Zauner 2010), then the small grey pictures themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from residency.data.images import THUMB, ImageFile

NEAR_BITS = 10
"""Hashes that differ in at most this many of 64 bits are worth a comparison of the pictures."""
NEAR_DIFFERENCE = 0.15
"""Pictures that differ by less than this, brightness and contrast matched, are near-duplicates (unrelated: 1)."""
_BLOCK = 256
"""Pictures, or pairs of them, that are worked on at a time: few enough for the processor's cache."""


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
    bits = []
    for start in range(0, len(thumbs_NHW), _BLOCK):
        # Rows first, all pictures in one product; then the eight numbers of each row along its column.
        rows = thumbs_NHW[start : start + _BLOCK].reshape(-1, THUMB).astype(np.float32)
        low = (cosines @ (rows @ cosines.T).reshape(-1, THUMB, 8)).reshape(-1, 64)
        bits.append((low > np.median(low[:, 1:], axis=1, keepdims=True)).astype(np.uint8))
    return np.concatenate(bits)


def find_twins(images: Sequence[ImageFile]) -> list[Twin]:
    """Return every pair of equal files and of near-duplicate pictures, in order of name."""
    images = sorted(images, key=lambda image: image.name)
    if len(images) < 2:
        return []
    thumbs = np.frombuffer(b"".join(image.thumb for image in images), np.uint8).reshape(-1, THUMB, THUMB)
    twins = []
    pairs = _close_pairs(hash_images(thumbs))
    for (one, two), found in zip(pairs.tolist(), _differences(thumbs, pairs), strict=True):
        same = images[one].sha256 == images[two].sha256
        difference = 0.0 if same else found
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


def _differences(thumbs_NHW: NDArray[np.uint8], pairs_P2: NDArray[np.int64]) -> list[float]:
    """Return how much each pair differs once brightness and contrast are matched: 0 equal, about 1 unrelated."""
    differences: list[float] = []
    for start in range(0, len(pairs_P2), _BLOCK):
        one, two = (
            (grey - grey.mean(axis=1, keepdims=True)) / np.maximum(grey.std(axis=1, keepdims=True), 1.0)
            for grey in thumbs_NHW[pairs_P2[start : start + _BLOCK].T].reshape(2, -1, THUMB**2).astype(np.float32)
        )
        differences += np.sqrt(np.mean((one - two) ** 2, axis=1) / 2).tolist()
    return differences


def _close_pairs(bits_NB: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return index pairs (P, 2) of close hashes: with bits as +1 and -1, a product of two is 64 - 2 distance."""
    signs = bits_NB.astype(np.float32) * 2 - 1
    found = []
    for start in range(0, len(signs), _BLOCK):
        near = signs[start : start + _BLOCK] @ signs[start:].T >= 64 - 2 * NEAR_BITS
        pairs = np.stack(np.divmod(np.flatnonzero(near), near.shape[1]), axis=1)
        found.append(start + pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)
