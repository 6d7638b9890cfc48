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
    side: int | None,
    spacing_told: bool,
    witnesses: Mapping[str, Sequence[Sample]],
) -> tuple[dict[str, Image.Image], list[Sample]]:
    """Return the pictures that were changed and the samples in the draws' order.

    A picture is changed once a batch, by the seed of its first draw, for all its samples. `side` is what the model
    squeezes pictures to, in pixels: larger ones are reduced first, their shorter side to no less. `witnesses` are
    further samples by picture whose answers must stay as they are.

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
            picture, ratio = _reduce(file, side)
        if kind == "grey":
            pictures[path] = vary_grey(picture, rng)
            continue
        asked = [scale_places(samples[row], ratio) for row in rows]
        pictures[path], carried = augment_study(
            picture, asked, rng, spacing_told=spacing_told, witnesses=witnesses.get(path, ())
        )
        for row, sample in zip(rows, carried, strict=True):
            samples[row] = scale_places(sample, 1 / ratio)
    return pictures, samples


def _reduce(file: Image.Image, side: int | None) -> tuple[Image.Image, float]:
    """Return the picture, its shorter side no longer than need be, and the ratio to what it was."""
    if side is None or min(file.size) <= side:
        file.load()
        return file.copy(), 1.0
    ratio = side / min(file.size)
    size = (round(file.width * ratio), round(file.height * ratio))
    picture = file if file.mode in ("L", "RGB") else file.convert("RGB")
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), ratio


def scale_places(sample: Sample, ratio: float) -> Sample:
    """Return the sample with its boxes and outlines in pixels of a picture of another size."""
    if ratio == 1 or not (sample.boxes or sample.outlines):
        return sample
    boxes = [box.model_copy(update={"xyxy": tuple(value * ratio for value in box.xyxy)}) for box in sample.boxes]
    outlines = [
        outline.model_copy(update={"points": tuple((x * ratio, y * ratio) for x, y in outline.points)})
        for outline in sample.outlines
    ]
    return sample.model_copy(update={"boxes": tuple(boxes), "outlines": tuple(outlines)})
