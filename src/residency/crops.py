"""Crops of pictures with what is asked about each in, its answers out; crops of several pictures are read at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from PIL import Image

from residency.answering import Query, Said, answer_each
from residency.asking import Predict
from residency.data.tiles import Region
from residency.models.registry import Opened

MOST_PIXELS = 2**26
"""Crops read at once hold no more (200 MB), but for one that is larger by itself."""


@dataclass(frozen=True)
class Crop:
    """A region of a picture, with its own pixels, the picture's width and height, and what is asked about it."""

    pixels: Image.Image
    region: Region
    size: tuple[int, int]
    queries: Sequence[Query]


def cut_crop(picture: Image.Image, region: Region, queries: Sequence[Query]) -> Crop:
    """Return a region of a picture with what is asked about it; beyond the picture it is black."""
    return Crop(picture.crop(region.corners), region, picture.size, queries)


def answer_crops(opened: Opened, crops: Iterable[Crop], settings: Predict) -> Iterator[tuple[Crop, list[Said]]]:
    """Yield each crop with the answers to its queries, each crop a picture of its own to the model.

    `settings.batch_images` are read at once, of large crops fewer; besides those at most the next one is in memory.
    """
    batches = batch_crops(crops, settings.batch_images)
    return chain.from_iterable(map(partial(_answer_batch, opened, settings), batches))


def batch_crops(crops: Iterable[Crop], most: int, pixels: int = MOST_PIXELS) -> Iterator[list[Crop]]:
    """Yield crops in order, at most so many at a time, and more than one only if they hold so few pixels."""
    some: list[Crop] = []
    held = 0
    for crop in crops:
        area = crop.pixels.width * crop.pixels.height
        if some and (len(some) == most or held + area > pixels):
            yield some
            some, held = [], 0
        some.append(crop)
        held += area
    if some:
        yield some


def _answer_batch(opened: Opened, settings: Predict, crops: Sequence[Crop]) -> list[tuple[Crop, list[Said]]]:
    images = {f"{crop.queries[0].sample.image}#{number}": crop.pixels for number, crop in enumerate(crops)}
    asked = [
        replace(query, sample=query.sample.model_copy(update={"image": image}))
        for image, crop in zip(images, crops, strict=True)
        for query in crop.queries
    ]
    said = iter(answer_each(opened, asked, settings, images))
    return [(crop, [next(said) for _ in crop.queries]) for crop in crops]
