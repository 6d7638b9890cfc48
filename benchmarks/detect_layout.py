"""A dataset folder in, the same pictures, boxes and splits in YOLO's layout out; and what was found, back again."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from residency.data.dataset import Dataset
from residency.evaluate.boxes import F1, tally_boxes
from residency.evaluate.places import picture_size, told_places, true_places
from residency.files import read_text, sha256_text, write_text
from residency.types import SPLITS, Prediction, Sample, SplitName
from residency.ultrasound.outline import tell_points

CUTS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Confidences that are tried as the least of an answer."""


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
            name = f"{sha256_text(sample.id)[:12]}{image.suffix.lower()}"  # the same, whatever else is asked for
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


def read_found(
    path: Path,
    dataset: Dataset,
    named: Mapping[str, Sample],
    model: str,
    split: SplitName,
    *,
    cut: float | None = None,
    least: float = 0.0,
) -> list[Prediction]:
    """Return predictions of the boxes that a detector wrote down, the surest first, each image a JSON line.

    Images and labels that are not asked for are passed over. A box's score is the logarithm of its confidence; those
    below the confidence `cut` are no answers, those below `least` are not told at all.
    """
    predictions = []
    labels = {box.label for sample in named.values() for box in sample.boxes}
    for line in read_text(path).splitlines():
        found = json.loads(line)
        if found["image"] not in named:
            continue
        sample = named[found["image"]]
        kept = (box for box in found["boxes"] if box["confidence"] >= least and box["label"] in labels)
        boxes = sorted(kept, key=lambda box: -box["confidence"])
        size = picture_size(dataset.image_path(sample))
        predictions.append(
            Prediction(
                id=sample.id,
                model=model,
                mode="detector",
                split=split,
                prompt_sha256=sha256_text(sample.prefix),
                prediction="".join(_tell(box, size) for box in boxes),
                box_scores=tuple(round(math.log(box["confidence"]), 4) for box in boxes),
                box_cut=None if cut is None else math.log(cut),
                seconds=round(found["seconds"], 5),
            )
        )
    return predictions


def choose_cut(dataset: Dataset, validation: Path, named: Mapping[str, Sample]) -> float:
    """Return the confidence at which F1 at IoU 0.5 is best on the validation pictures."""
    scores = []
    samples = {sample.id: sample for sample in dataset.samples}
    for cut in CUTS:
        made = read_found(validation, dataset, named, "", "val", least=cut)
        truths = [true_places(samples[one.id], dataset.folder) for one in made]
        told = [told_places(one, "boxes", truth) for one, truth in zip(made, truths, strict=True)]
        tally = next(tally for tally in tally_boxes(truths, told) if tally.metric == F1)
        scores.append(float(tally.value(tally.rows_ND.sum(axis=0, keepdims=True))[0]))
    return CUTS[int(np.argmax(scores))]


def _tell(box: Mapping[str, Any], size: Sequence[int]) -> str:
    return str(box["label"]) + tell_points(np.array(box["xyxy"]).reshape(2, 2) / size)
