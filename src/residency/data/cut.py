"""A dataset of marked pictures in, a dataset of their tiles or crops out.

Tiles teach small findings on large pictures; crops around the marks teach the closer look (closer.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.data.tiles import Region, boxes_within, cut_tiles, frame_marks
from residency.errors import UserError
from residency.files import is_there, new_folder, sha256_file
from residency.progress import track
from residency.types import Outline, Record, Sample

TIMES = (1.1, 1.7)
"""How many times as wide as its marks a crop is."""


class Cut(Record):
    """What was written: pieces with findings and without, and how many samples ask for none and were left out."""

    dataset: str
    pieces: int
    with_marks: int
    left_out: int


def cut_dataset(folder: Path, out: Path, side: int, *, overlap: float = 0.25, empty: float = 1.0, seed: int = 0) -> Cut:
    """Cut every annotated picture of a dataset into tiles and write them, boxes carried along, as a dataset.

    Groups and splits stay as they are. `empty`: how many tiles without a finding are kept for each with one, drawn by
    the seed; where a picture has no finding at all, as many as one finding would keep.

    Raises:
        UserError: `out` is there, a picture cannot be read, or nothing in the dataset is a box.
    """
    dataset = load_dataset(folder)
    asked = [sample for sample in dataset.samples if sample.suffix is not None]
    boxed = {sample.asks for sample in asked if sample.boxes}
    marked = [sample for sample in asked if sample.asks in boxed and not sample.outlines]
    rng = np.random.default_rng(seed)

    def choose(sample: Sample, size: tuple[int, int]) -> list[Region]:
        regions = cut_tiles(*size, side, overlap)
        held = [region for region in regions if boxes_within(sample.boxes, region)]
        bare = [region for region in regions if region not in held]
        count = min(len(bare), round(empty * max(1, len(held))))
        return [*held, *(bare[int(place)] for place in rng.permutation(len(bare))[:count])]

    return _write_cut(dataset, marked, out, choose, len(asked) - len(marked), "boxes")


def crop_dataset(folder: Path, out: Path, count: int, *, seed: int = 0) -> Cut:
    """Write every marked picture of a dataset, whole and in `count` crops around its marks, as a dataset.

    A crop has the picture's shape, 1.1 to 1.7 times its marks' span, and the marks anywhere in it; what lies beyond the
    picture is black. Groups and splits stay as they are.

    Raises:
        UserError: `out` is there, a picture cannot be read, or nothing in the dataset is marked.
    """
    dataset = load_dataset(folder)
    asked = [sample for sample in dataset.samples if sample.suffix is not None]
    marked = [sample for sample in asked if sample.boxes or sample.outlines]
    rng = np.random.default_rng(seed)

    def choose(sample: Sample, size: tuple[int, int]) -> list[Region]:
        corners = [corner for box in sample.boxes for corner in (box.xyxy[:2], box.xyxy[2:])]
        points_P2 = np.array([*corners, *(point for outline in sample.outlines for point in outline.points)])
        drawn = [(float(rng.uniform(*TIMES)), rng.uniform(-1, 1, 2).tolist()) for _ in range(count)]
        return [Region(0, 0, *size), *(frame_marks(points_P2, size, times, shift) for times, shift in drawn)]

    return _write_cut(dataset, marked, out, choose, len(asked) - len(marked), "boxes or outlines")


def _write_cut(
    dataset: Dataset,
    marked: Sequence[Sample],
    out: Path,
    choose: Callable[[Sample, tuple[int, int]], Sequence[Region]],
    left_out: int,
    wanted: str,
) -> Cut:
    if is_there(out):
        raise UserError(f"{out} is there already", do="choose another --out, or remove it")
    if not marked:
        do = "name a dataset of marked pictures: residency ingest reads boxes and outlines (docs/sources.md)"
        raise UserError(f"{dataset.folder} has no answers in {wanted}", found=f"{left_out} annotated samples", do=do)
    with new_folder(out, replace_old=False) as begun:
        (begun / "images").mkdir()
        samples: list[Sample] = []
        for number, sample in enumerate(track(marked, "cutting pictures")):
            picture = _read_picture(dataset.image_path(sample))
            for place, region in enumerate(choose(sample, picture.size)):
                name = f"{number:05d}-{place:03d}"
                samples.append(_write_region(sample, f"{sample.id}-{place:03d}", picture, region, begun, name))
        write_dataset(Dataset(begun, tuple(samples), dataset.questionnaire, dataset.splits))
    held = sum(bool(sample.boxes or sample.outlines) for sample in samples)
    return Cut(dataset=str(out), pieces=len(samples), with_marks=held, left_out=left_out)


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except OSError as error:
        raise UserError(f"{path} cannot be read", found=error.strerror or str(error)) from error


def _write_region(sample: Sample, id: str, picture: Image.Image, region: Region, out: Path, name: str) -> Sample:
    path = out / "images" / f"{name}.png"
    picture.crop(region.corners).save(path)
    boxes = boxes_within(sample.boxes, region)
    outlines = [
        Outline(label=one.label, points=tuple((x - region.x0, y - region.y0) for x, y in one.points))
        for one in sample.outlines
    ]
    text = tell_places(boxes, outlines, region.size, labelled=_is_labelled(sample))
    return sample.model_copy(
        update={
            "id": id,
            "image": f"images/{name}.png",
            "boxes": tuple(boxes),
            "outlines": tuple(outlines),
            "suffix": text,
            "answer": text if sample.answer is not None else None,
            "sha256": sha256_file(path),
        }
    )


def _is_labelled(sample: Sample) -> bool:
    labels = [*(box.label for box in sample.boxes), *(outline.label for outline in sample.outlines)]
    return not labels or any(label in (sample.suffix or "") for label in labels)
