"""Images without answers in, the order in which to annotate them out: unsure, unlike what is known, of rare answers.

Greedy, one image after the other: score = uncertainty x distance to the nearest image that is annotated or already
chosen x how rare its likely answer is so far. Uncertainty is least confidence (Lewis and Gale, SIGIR 1994), distance
the farthest-first rule of core-sets (Sener and Savarese, arXiv 1708.00489) on the tower's features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLOOR = 0.05
"""The least uncertainty that counts, so that no image is left out for good because the model is sure of it."""


@dataclass(frozen=True)
class Turn:
    """One image's place in the order: which image (row), and what spoke for it."""

    row: int
    uncertainty: float
    distance: float
    rarity: float

    @property
    def score(self) -> float:
        """The product of all three."""
        return self.uncertainty * self.distance * self.rarity


def rank_images(
    features_ND: Floats,
    uncertain_N: Floats,
    likely_N: Sequence[str],
    known_KD: Floats,
    answered_K: Sequence[str],
    most: int | None = None,
) -> list[Turn]:
    """Return at most so many images in the order of annotation.

    Args:
        features_ND: the tower's features of N images without answers.
        uncertain_N: how unsure the model is of each, 0 to 1.
        likely_N: what it would answer to the question that is to be balanced ("" for all: nothing is balanced).
        known_KD: the features of K annotated images (may be none).
        answered_K: their answers to that question.
        most: how many to choose; None orders all.
    """
    scaled_ND, scaled_KD = _scale(features_ND, known_KD)
    near_N = _nearest(scaled_ND, scaled_KD)
    counts = {name: float(list(answered_K).count(name)) for name in {*likely_N, *answered_K}}
    left_N = np.ones(len(features_ND), dtype=np.bool_)
    unsure_N = np.maximum(uncertain_N, FLOOR)
    turns = []
    for _ in range(min(most or len(features_ND), len(features_ND))):
        rare_N = np.array([1 / np.sqrt(1 + counts[name]) for name in likely_N])
        score_N = np.where(left_N, unsure_N * near_N * rare_N, -1.0)
        row = int(score_N.argmax())
        turns.append(Turn(row, float(uncertain_N[row]), float(near_N[row]), float(rare_N[row])))
        left_N[row] = False
        counts[likely_N[row]] += 1
        near_N = np.minimum(near_N, _distance(scaled_ND, scaled_ND[row]))
    return turns


def _scale(features_ND: Floats, known_KD: Floats) -> tuple[Floats, Floats]:
    """Return features of unit length about their common mean, so that distances lie within 0 and 2."""
    both_MD = np.vstack([features_ND, known_KD.reshape(-1, features_ND.shape[1])])
    centred_MD = both_MD - both_MD.mean(0)
    scaled_MD = centred_MD / np.maximum(np.linalg.norm(centred_MD, axis=1, keepdims=True), 1e-12)
    return scaled_MD[: len(features_ND)], scaled_MD[len(features_ND) :]


def _nearest(scaled_ND: Floats, scaled_KD: Floats) -> Floats:
    """Return each image's distance to the nearest annotated one; without any, all are as far."""
    if not len(scaled_KD):
        return np.full(len(scaled_ND), 2.0)
    near: Floats = np.sqrt(np.maximum(2 - 2 * (scaled_ND @ scaled_KD.T), 0)).min(1)
    return near


def _distance(scaled_ND: Floats, one_D: Floats) -> Floats:
    distance: Floats = np.sqrt(np.maximum(2 - 2 * scaled_ND @ one_D, 0))
    return distance
