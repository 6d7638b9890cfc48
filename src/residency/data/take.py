"""A training split and a number of images in, nested subsets of whole groups out: what learning curves are drawn of."""

from collections.abc import Sequence

import numpy as np

from residency.config import Recipe
from residency.data.dataset import Dataset
from residency.types import Sample


def learned_samples(dataset: Dataset, recipe: Recipe | None, fold: int) -> list[Sample]:
    """Return the annotated samples of a fold's training split that the recipe learns from."""
    samples = dataset.split("train", fold)
    if recipe is None or recipe.train.images is None:
        return samples
    return take_images(samples, recipe.train.images, recipe.train.seed)


def take_images(samples: Sequence[Sample], images: int, seed: int) -> list[Sample]:
    """Return the samples of at most so many images, whole groups in an order drawn by the seed.

    A larger number holds all that a smaller one does; the first group is taken whole even if it has more images.
    """
    held: dict[str, set[str]] = {}
    for sample in samples:
        held.setdefault(sample.group, set()).add(sample.image)
    groups = sorted(held)
    taken: set[str] = set()
    count = 0
    for place in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[int(place)]
        if taken and count + len(held[group]) > images:
            break
        taken.add(group)
        count += len(held[group])
    return [sample for sample in samples if sample.group in taken]
