"""A dataset of boxes in; the same, each training picture beside its mirror images (left, up, both), out.

True of what has no left and right, such as a blood smear. The copies are of their original's group, so no split tears
them apart; validation and test are the originals alone.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageOps

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.files import sha256_file
from residency.types import Box, Sample

MIRRORS = ((True, False), (False, True), (True, True))
"""Whether left and right, and whether top and bottom, change places."""


def mirror_training(dataset: Dataset, folder: Path) -> Dataset:
    """Write the dataset with its mirrored pictures to `folder`, and return it as it is read there."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    training = {sample.id for sample in dataset.split("train")}
    samples = [
        sample.model_copy(update={"image": os.path.relpath(dataset.image_path(sample), folder)})
        for sample in dataset.samples
    ]
    copies = [copy for s in dataset.samples if s.id in training for copy in _mirror(dataset, s, folder)]
    write_dataset(replace(dataset, folder=folder, samples=(*samples, *copies)))
    return load_dataset(folder)


def _mirror(dataset: Dataset, sample: Sample, folder: Path) -> Iterator[Sample]:
    with Image.open(dataset.image_path(sample)) as file:
        picture = file.convert("RGB")
    for across, down in MIRRORS:
        name = f"images/{Path(sample.image).stem}-{'h' * across}{'v' * down}.jpg"
        turned = ImageOps.mirror(picture) if across else picture
        (ImageOps.flip(turned) if down else turned).save(folder / name, quality=95)
        boxes = tuple(_turn(box, picture.size, across, down) for box in sample.boxes)
        text = tell_places(boxes, (), picture.size, True)
        changed = {"id": f"{sample.id}-{'h' * across}{'v' * down}", "image": name, "boxes": boxes, "suffix": text}
        yield sample.model_copy(update={**changed, "answer": text, "sha256": sha256_file(folder / name)})


def _turn(box: Box, size: tuple[int, int], across: bool, down: bool) -> Box:
    (x0, y0, x1, y1), (width, height) = box.xyxy, size
    x0, x1 = (width - x1, width - x0) if across else (x0, x1)
    y0, y1 = (height - y1, height - y0) if down else (y0, y1)
    return Box(label=box.label, xyxy=(x0, y0, x1, y1))
