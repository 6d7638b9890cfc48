"""A dataset of large pictures with boxes in, a dataset of their tiles out: what a model learns small findings from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.data.tiles import Region, boxes_within, cut_tiles
from residency.errors import UserError
from residency.files import is_there, new_folder, sha256_file
from residency.progress import track
from residency.types import Record, Sample


class Cut(Record):
    """What was written: tiles with findings and without, and how many samples ask for no boxes and were left out."""

    dataset: str
    tiles: int
    with_boxes: int
    left_out: int


def cut_dataset(folder: Path, out: Path, side: int, *, overlap: float = 0.25, empty: float = 1.0, seed: int = 0) -> Cut:
    """Cut every annotated picture of a dataset into tiles and write them, boxes carried along, as a dataset.

    Groups and splits stay as they are. `empty`: how many tiles without a finding are kept for each with one, drawn by
    the seed; where a picture has no finding at all, as many as one finding would keep.

    Raises:
        UserError: `out` is there, a picture cannot be read, or nothing in the dataset is a box.
    """
    dataset = load_dataset(folder)
    if is_there(out):
        raise UserError(f"{out} is there already", do="choose another --out, or remove it")
    asked = [sample for sample in dataset.samples if sample.suffix is not None]
    boxed = {sample.asks for sample in asked if sample.boxes}
    marked = [sample for sample in asked if sample.asks in boxed and not sample.outlines]
    if not marked:
        do = "name a dataset of marked pictures: residency ingest reads boxes (docs/sources.md)"
        raise UserError(f"{folder} has no answers in boxes", found=f"{len(asked)} annotated samples", do=do)
    rng = np.random.default_rng(seed)
    with new_folder(out, replace_old=False) as begun:
        (begun / "images").mkdir()
        samples: list[Sample] = []
        for number, sample in enumerate(track(marked, "cutting pictures")):
            samples += _cut_sample(dataset, sample, begun, f"{number:05d}", side, overlap, empty, rng)
        write_dataset(Dataset(begun, tuple(samples), dataset.questionnaire, dataset.splits))
    held = sum(bool(sample.boxes) for sample in samples)
    return Cut(dataset=str(out), tiles=len(samples), with_boxes=held, left_out=len(asked) - len(marked))


def _cut_sample(
    dataset: Dataset,
    sample: Sample,
    out: Path,
    name: str,
    side: int,
    overlap: float,
    empty: float,
    rng: np.random.Generator,
) -> Iterator[Sample]:
    try:
        with Image.open(dataset.image_path(sample)) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise UserError(f"{sample.image} cannot be read", found=error.strerror or str(error)) from error
    regions = cut_tiles(*picture.size, side, overlap)
    held = [region for region in regions if boxes_within(sample.boxes, region)]
    bare = [region for region in regions if region not in held]
    count = min(len(bare), round(empty * max(1, len(held))))
    drawn = [bare[int(place)] for place in rng.permutation(len(bare))[:count]]
    for number, region in enumerate((*held, *drawn)):
        yield _write_tile(sample, picture, region, out, f"{name}-{number:03d}")


def _write_tile(sample: Sample, picture: Image.Image, region: Region, out: Path, name: str) -> Sample:
    path = out / "images" / f"{name}.png"
    picture.crop(region.corners).save(path)
    boxes = boxes_within(sample.boxes, region)
    text = tell_places(boxes, [], region.size, labelled=_is_labelled(sample, boxes))
    return sample.model_copy(
        update={
            "id": f"{sample.id}-{region.x0}-{region.y0}",
            "image": f"images/{name}.png",
            "boxes": tuple(boxes),
            "suffix": text,
            "answer": text if sample.answer is not None else None,
            "sha256": sha256_file(path),
        }
    )


def _is_labelled(sample: Sample, boxes: Sequence[object]) -> bool:
    return not boxes or any(box.label in (sample.suffix or "") for box in sample.boxes)
