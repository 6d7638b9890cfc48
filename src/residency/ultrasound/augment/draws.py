"""A batch's draws in; its opened and augmented pictures by path, and the samples that are true of them, out."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from residency.config import Augmentation
from residency.types import Sample
from residency.ultrasound.augment.plain import vary_grey
from residency.ultrasound.augment.study import augment_study


def augment_draws(
    draws: Sequence[tuple[Sample, int]],
    kind: Augmentation,
    *,
    spacing_told: bool,
    witnesses: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, Image.Image], list[Sample]]:
    """Return the pictures that were changed and the samples in the draws' order.

    A picture is changed once a batch, by the seed of its first draw, for all its samples. `witnesses` are further
    samples by picture whose answers must stay as they are.

    Raises:
        OSError: a picture cannot be read.
    """
    samples = [sample for sample, _ in draws]
    if kind == "none":
        return {}, samples
    places: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        places.setdefault(sample.image, []).append(place)
    pictures = {}
    for path, rows in places.items():
        rng = np.random.default_rng(draws[rows[0]][1])
        with Image.open(path) as file:
            if kind == "grey":
                pictures[path] = vary_grey(file, rng)
                continue
            pictures[path], carried = augment_study(
                file,
                [samples[row] for row in rows],
                rng,
                spacing_told=spacing_told,
                witnesses=witnesses.get(path, ()),
            )
        for row, sample in zip(rows, carried, strict=True):
            samples[row] = sample
    return pictures, samples
