"""The deletion test: heat maps in, what the answers lose without the marked regions and without random ones out.

After Petsiuk 2018 (RISE, arXiv 1806.07421), with two changes: what is deleted becomes speckle of the local mean, and
the loss is held against that of as large regions elsewhere in the sector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from residency.explain.heat import Heat, weigh_answers
from residency.explain.picture import Picture
from residency.models.registry import Opened
from residency.types import Record, Sample


class Deletion(Record):
    """What an answer's log-likelihood loses, in nats, without the marked region, and on average without a random one
    of the same area and grain."""

    marked: float
    random: float

    @property
    def gain(self) -> float:
        """By how much more the marked region matters."""
        return self.marked - self.random


def delete_marked(
    opened: Opened,
    samples: Sequence[Sample],
    heats: Sequence[Heat],
    picture: Picture,
    *,
    share: float,
    draws: int,
    rng: Generator,
) -> list[Deletion]:
    """Return the test's outcome for each answer about one picture; `draws` random regions each."""
    whole_B = weigh_answers(opened, samples, [picture.image])[0]
    outcomes = []
    for sample, heat, whole in zip(samples, heats, whole_B, strict=True):
        regions = [picture.mark(other, share) for other in (heat, *(_misplace(heat, rng) for _ in range(draws)))]
        left = weigh_answers(opened, [sample], [picture.cover(region, rng) for region in regions])[:, 0]
        outcomes.append(Deletion(marked=float(whole - left[0]), random=float(whole - left[1:].mean())))
    return outcomes


def _misplace(heat: Heat, rng: Generator) -> Heat:
    """Return the map turned, mirrored and shifted at random: as many places as grouped, elsewhere."""
    other = np.rot90(heat, int(rng.integers(4)))
    other = other[:, ::-1] if rng.random() < 0.5 else other
    height, width = other.shape
    return np.roll(other, (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
