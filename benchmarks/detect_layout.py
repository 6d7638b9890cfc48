"""A dataset folder in, the same pictures, boxes and splits in YOLO's layout out; and what was found, back again."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from PIL import Image

from residency.data.dataset import Dataset
from residency.files import write_text
from residency.types import SPLITS, Sample, SplitName


def write_yolo(dataset: Dataset, folder: Path, fold: int = 0) -> dict[str, Sample]:
    """Write data.yaml, images/ (links) and labels/ of the samples that hold boxes; return them by image name."""
    shutil.rmtree(folder, ignore_errors=True)
    samples = {split: _boxed(dataset, split, fold) for split in SPLITS}
    labels = sorted({box.label for found in samples.values() for sample in found for box in sample.boxes})
    named: dict[str, Sample] = {}
    for split, found in samples.items():
        (folder / "images" / split).mkdir(parents=True)
        for sample in found:
            image = dataset.image_path(sample).resolve()
            name = f"{len(named):06d}{image.suffix.lower()}"
            named[name] = sample
            (folder / "images" / split / name).symlink_to(image)
            write_text((folder / "labels" / split / name).with_suffix(".txt"), _rows(sample, image, labels))
    told = {"path": str(folder.resolve()), **{split: f"images/{split}" for split in SPLITS}}
    write_text(folder / "data.yaml", yaml.safe_dump({**told, "names": dict(enumerate(labels))}))
    return named


def _boxed(dataset: Dataset, split: SplitName, fold: int) -> Sequence[Sample]:
    return [sample for sample in dataset.split(split, fold) if sample.boxes]


def _rows(sample: Sample, image: Path, labels: Sequence[str]) -> str:
    with Image.open(image) as file:
        width, height = file.size
    rows = []
    for box in sample.boxes:
        x0, y0, x1, y1 = box.xyxy
        shares = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
        rows.append(f"{labels.index(box.label)} " + " ".join(f"{share:.6f}" for share in shares))
    return "".join(f"{row}\n" for row in rows)
