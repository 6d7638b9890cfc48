"""What one ingest is about: the frame that holds for all rows in, the bag of what was gathered out, and groupings."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from residency.data.images import ImageFile
from residency.data.index import ImageIndex
from residency.data.wording import LAYERS, Layer, Lexicon
from residency.dicom.deidentify import name_group
from residency.dicom.pictures import SourceImage
from residency.dicom.veil import Veil
from residency.errors import UserError
from residency.types import Problem, Questionnaire, Record, Sample, Source, SplitName

_HIDDEN = {"patient": "P", "study": "S", "site": "site"}
"""Attributes that identify, and the kinds of their names."""


class Change(Record):
    """One cell whose text was replaced by its canonical form; put `before` back to undo it."""

    source: Source
    question: str
    before: str
    after: str
    layers: tuple[Layer, ...]

    @property
    def deepest(self) -> Layer:
        """The layer that did most: a corrected spelling before a synonym before white space."""
        return next((layer for layer in ("spelling", "vocabulary") if layer in self.layers), "space")


@dataclass
class Gathered:
    """What reading the sources brought together; problems make their rows bad, flags are worth knowing only."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    flags: list[Problem] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    cells: int = 0
    wordings: defaultdict[str, defaultdict[str, Counter[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Counter))
    )
    """Question -> canonical text -> how often each wording of it was written."""
    seen: set[str] = field(default_factory=set)
    """Names of images that some row, good or bad, speaks of."""
    bad_rows: int = 0
    split_of: dict[str, set[SplitName]] = field(default_factory=dict)
    """The split that came with the data, by image name."""
    split_at: dict[str, SplitName] = field(default_factory=dict)
    """The same by the line's place."""

    def note(self, source: Source, question: str, before: str, after: str, layers: Collection[Layer]) -> None:
        """Log how an answer was written and what it became."""
        self.wordings[question][after][before] += 1
        if before != after:
            used = tuple(layer for layer in LAYERS if layer in layers) or ("space",)
            self.changes.append(Change(source=source, question=question, before=before, after=after, layers=used))


@dataclass(frozen=True)
class Frame:
    """What holds for all rows: where images are, what is asked, how images are grouped, where the dataset will be.

    `images` is what they hold, by name, once they are read.
    """

    index: ImageIndex
    questionnaire: Questionnaire
    group_by: str
    out: Path
    layers: tuple[Layer, ...] = LAYERS
    images: Mapping[str, ImageFile] = field(default_factory=dict)
    within: str | None = None
    """The dataset's own folder of images; None where they stay where they are."""
    told: Mapping[str, SourceImage] = field(default_factory=dict)
    """What DICOM files say of their pictures, by image name."""
    veil: Veil | None = None
    """What hides patients and studies that a sheet names beside DICOM files; None elsewhere."""

    def hide(self, kind: str, identifier: str) -> str:
        """Return the name under which a patient (P) or a study (S) is known: beside DICOM files, not its own."""
        return self.veil.name(kind, identifier.upper()) if self.veil else identifier

    def own_group(self, image: str) -> str | None:
        """Return the patient that the image's DICOM file names, else its study."""
        told = self.told.get(image)
        return None if told is None else name_group(told.patient, told.study)

    def own_spacing(self, image: str) -> tuple[float, float] | None:
        """Return (row, column) mm a pixel as the image's DICOM file says."""
        return self.told[image].spacing_mm if image in self.told else None

    def attributes_of(self, image: str, written: Mapping[str, str]) -> dict[str, str]:
        """Return the attributes that were written of an image, else what its DICOM file says; identifiers as names."""
        own = self.told[image].attributes if image in self.told else {}
        shown = {
            key: self.hide(_HIDDEN[key], text) if key in _HIDDEN else text for key, text in written.items() if text
        }
        return {**own, **shown}

    def with_images(self, images: Sequence[ImageFile], unreadable: Sequence[Problem]) -> "Frame":
        """Return the frame that knows what was read of the images, and which cannot be used."""
        return replace(self, index=self.index.without(unreadable), images={image.name: image for image in images})

    def image_path(self, name: str) -> str:
        """Return an image's path as a sample holds it: relative to the dataset's folder."""
        return self._upward + "/" + name

    @cached_property
    def _upward(self) -> str:
        if self.within:
            return self.within
        return Path(os.path.relpath(self.index.root.resolve(), self.out.resolve())).as_posix()


def check_grouping(group_by: str) -> tuple[str, str]:
    """Split `column:NAME`, `pattern:REGEX`, `image` or `dicom` into its kind and its argument.

    Raises:
        UserError: it is none of these, or the pattern is no regular expression.
    """
    kind, _, argument = group_by.partition(":")
    if (kind in ("image", "dicom") and not argument) or (kind in ("column", "pattern") and argument):
        try:
            re.compile(argument if kind == "pattern" else "")
        except re.error as error:
            raise UserError(f"`{argument}` is no regular expression", found=error) from None
        return kind, argument
    raise UserError(
        "say what must stay together in a split",
        found=group_by or "nothing",
        allowed=[
            "column:NAME",
            "pattern:REGEX",
            "image (each image by itself: accepts the risk)",
            "dicom (the patient that each DICOM file names)",
        ],
        do="--group-by column:Patient",
    )


def pattern_group(pattern: str, name: str) -> str | None:
    """Return what the pattern finds in an image's name (its path below the folder, if the pattern holds a slash)."""
    found = re.search(pattern, name if "/" in pattern else PurePosixPath(name).name)
    if not found:
        return None
    return (found[1] if found.re.groups else found[0]) or None


def folder_category(image: str, categories: Lexicon) -> str | None:
    """Return the category that an image's folder names; any folder's name where the questionnaire lists none."""
    folder = image.rpartition("/")[0].rpartition("/")[2]
    if not folder or not categories.names:
        return folder or None
    found = categories.find(folder)
    return found.name if found else None
