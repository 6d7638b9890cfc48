"""Crops in, batches out: so many at a time, of large ones fewer, and none of an earlier batch kept in memory."""

from collections.abc import Iterator
from weakref import ref

from PIL import Image

from residency.answering import Query
from residency.crops import Crop, batch_crops, cut_crop
from residency.data.tiles import Region
from residency.types import Sample

ASKED = (Query(Sample(id="s", image="i", prefix="?", group="g")),)


def cut_sides(sides: list[int], cut: "list[ref[Image.Image]]") -> Iterator[Crop]:
    for side in sides:
        crop = cut_crop(Image.new("L", (90, 60)), Region(-5, -5, side - 5, side - 5), ASKED)
        cut.append(ref(crop.pixels))
        yield crop


def read_batches(sides: list[int], most: int, pixels: int) -> list[list[int]]:
    cut: list[ref[Image.Image]] = []
    made = []
    for batch in batch_crops(cut_sides(sides, cut), most, pixels):
        assert sum(one() is not None for one in cut) <= len(batch) + 1
        made.append([crop.pixels.width for crop in batch])
        del batch
    return made


def test_large_crops_are_read_fewer_at_once() -> None:
    assert read_batches([10] * 5, most=2, pixels=10_000) == [[10, 10], [10, 10], [10]]
    assert read_batches([10, 10, 10, 200, 10, 20], most=8, pixels=250) == [[10, 10], [10], [200], [10], [20]]
    assert read_batches([], most=8, pixels=250) == []


def test_a_crop_may_reach_beyond_its_picture() -> None:
    picture = Image.new("L", (90, 60), 200)
    crop = cut_crop(picture, Region(-5, 10, 45, 70), ASKED)
    assert (crop.size, crop.pixels.size) == ((90, 60), (50, 60))
    assert (crop.pixels.getpixel((4, 0)), crop.pixels.getpixel((5, 0)), crop.pixels.getpixel((5, 55))) == (0, 200, 0)
