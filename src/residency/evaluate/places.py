"""Samples that ask for boxes or outlines, and predictions, in; labelled places in pixels of the original out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from PIL import Image

from residency.data.told import boxes_of, outlines_of, read_told
from residency.errors import UserError
from residency.types import Box, Outline, Prediction, Sample

Kind = Literal["boxes", "outlines"]


@dataclass(frozen=True)
class Marked:
    """The boxes or the outlines of one picture of `size` (width, height) in pixels; `spacing_mm` is (row, column).

    `sure` tells for each box the mean log-likelihood of its tokens (0: not recorded), `given` whether it is an answer
    or one for the curve of precision over recall alone.
    """

    size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    sure: tuple[float, ...] = ()
    given: tuple[bool, ...] = ()
    outlines: tuple[Outline, ...] = ()
    spacing_mm: tuple[float, float] | None = None

    @property
    def answers(self) -> tuple[Box, ...]:
        """The boxes that are answers."""
        return tuple(box for box, is_given in zip(self.boxes, self.given, strict=True) if is_given)

    @property
    def labels(self) -> list[str]:
        """The labels of what is answered, as often as they stand."""
        return [box.label for box in self.answers] + [outline.label for outline in self.outlines]

    def of_label(self, label: str) -> "Marked":
        """Return what has this label."""
        kept = [box.label == label for box in self.boxes]
        return replace(
            self,
            boxes=tuple(box for box, keep in zip(self.boxes, kept, strict=True) if keep),
            sure=tuple(sure for sure, keep in zip(self.sure, kept, strict=True) if keep),
            given=tuple(given for given, keep in zip(self.given, kept, strict=True) if keep),
            outlines=tuple(outline for outline in self.outlines if outline.label == label),
        )


def kind_of(samples: Sequence[Sample]) -> Kind | None:
    """Return what a question's samples ask for in location tokens (None: words, or numbers)."""
    if any(sample.boxes for sample in samples):
        return "boxes"
    return "outlines" if any(sample.outlines for sample in samples) else None


def true_places(sample: Sample, folder: Path) -> Marked:
    """Return what is marked in a sample's picture, whose size its file tells.

    Raises:
        UserError: the picture cannot be read.
    """
    size = picture_size(folder / sample.image)
    boxes = sample.boxes
    return Marked(size, boxes, (0.0,) * len(boxes), (True,) * len(boxes), sample.outlines, sample.spacing_mm)


def told_places(prediction: Prediction, kind: Kind, truth: Marked) -> Marked | None:
    """Return what a prediction tells of the picture (None: its text holds no location token).

    Outlines without a label are of the label asked for.
    """
    runs = read_told(prediction.prediction)
    if not runs:
        return None
    if kind == "outlines":
        asked = truth.outlines[0].label if truth.outlines else ""
        named = [replace(run, label=run.label or asked) for run in runs]
        outlines = tuple(outline for run in named for outline in outlines_of(run, truth.size))
        return Marked(truth.size, outlines=outlines, spacing_mm=truth.spacing_mm)
    return mark_boxes(prediction.prediction, prediction.box_scores, truth.size, prediction.box_cut)


def mark_boxes(
    text: str, scores: Sequence[float] = (), size: tuple[int, int] = (1, 1), cut: float | None = None
) -> Marked:
    """Return the boxes that a text tells, in pixels (or, of a size of 1 x 1, in shares of the sides).

    `scores` are those of the runs of location tokens; boxes below `cut` are no answers.
    """
    runs = read_told(text)
    each = scores if len(scores) == len(runs) else (0.0,) * len(runs)
    told = [(box, sure) for run, sure in zip(runs, each, strict=True) for box in boxes_of(run, size)]
    given = tuple(cut is None or sure >= cut for _, sure in told)
    return Marked(size, tuple(box for box, _ in told), tuple(sure for _, sure in told), given)


def count_labels(marked: Marked) -> str:
    """Return what is marked in words: `12 RBC, 1 WBC`."""
    counts = {label: marked.labels.count(label) for label in sorted(set(marked.labels))}
    return ", ".join(f"{count} {label}" for label, count in counts.items()) or "none"


def picture_size(path: Path) -> tuple[int, int]:
    """Return a picture's (width, height) in pixels.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            return file.size
    except OSError as error:
        found, do = error.strerror or str(error), "put the dataset's images back: boxes are scored in their pixels"
        raise UserError(f"{path} cannot be read", found=found, do=do) from error
