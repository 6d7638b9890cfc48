"""A DICOM file in; its frames as de-identified pictures, their scale and names, and what was removed out.

with Apart() as apart:                                  # bytes or a path, decoded in a process of its own
    raw = apart.read_raw(data, LIMITS, draw_veil())
reading = clear_raw(raw, TextReader(), "mask")
reading.frames[0].picture, reading.spacing_mm, reading.identity.patient
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from residency.dicom.burned import Burned, Text, TextReader, clear_text
from residency.dicom.deidentify import Identity, Removal, read_identity, strip_header
from residency.dicom.header import Limits, read_bytes, read_header
from residency.dicom.pixels import draw_frames, read_shape
from residency.dicom.spacing import Scale, read_scale
from residency.dicom.veil import Veil

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Raw:
    """A decoded file whose header is de-identified, and whose pixels are not: text may be burned into them.

    `numbers` are the frames' numbers in the file, from 1; `sha256` is of the file's bytes.
    """

    arrays: list[np.ndarray]
    numbers: tuple[int, ...]
    total: int
    scale: Scale
    identity: Identity
    header: "Dataset"
    removed: tuple[Removal, ...]
    sha256: str


@dataclass(frozen=True)
class Frame:
    """One picture (mode L or RGB), and its number in the file, from 1."""

    picture: Image.Image
    number: int


@dataclass(frozen=True)
class Reading:
    """A de-identified file. `masked` is the burned-in text that was masked: show its boxes, never write its letters.

    `scale.spacing_mm` is (row, column) mm a pixel, or None with the reason in `scale.why`. `header` is what may stay of
    the attributes, without pixels.
    """

    frames: tuple[Frame, ...]
    total: int
    scale: Scale
    identity: Identity
    masked: tuple[Text, ...]
    removed: tuple[Removal, ...]
    header: "Dataset"
    sha256: str

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """(row, column) in mm a pixel."""
        return self.scale.spacing_mm


def read_raw(source: Path | bytes, limits: Limits, veil: Veil, most: int | None = None) -> Raw:
    """Decode a file and de-identify its header; its pixels may still show text.

    Raises:
        MissingExtra: pydicom or a decoder is not installed.
        Refused: the file is not used, and why.
    """
    data = read_bytes(source, limits)
    header = read_header(data, limits)
    shape = read_shape(header, limits)
    indices = spread(shape.frames, most)
    digest = hashlib.sha256(data).hexdigest()
    scale = read_scale(header, shape)
    identity = read_identity(header, veil, digest)
    kept, removed = strip_header(header, identity)
    arrays = draw_frames(header, shape, indices)
    numbers = tuple(index + 1 for index in indices)
    return Raw(arrays, numbers, shape.frames, scale, identity, kept, tuple(removed), digest)


def clear_raw(raw: Raw, reader: TextReader | None, burned: Burned) -> Reading:
    """Mask the burned-in text of a decoded file.

    Raises:
        Refused: `burned-in-text`.
    """
    texts: tuple[Text, ...] = ()
    arrays = raw.arrays
    if burned != "keep":
        if reader is None:
            raise ValueError("a TextReader is needed unless burned-in text is kept")
        cleared = clear_text(arrays, reader, burned)
        arrays, texts = cleared.frames, cleared.texts
    frames = tuple(Frame(Image.fromarray(array), number) for array, number in zip(arrays, raw.numbers, strict=True))
    return Reading(frames, raw.total, raw.scale, raw.identity, texts, raw.removed, raw.header, raw.sha256)


def spread(total: int, most: int | None) -> Sequence[int]:
    """Return at most so many of `total` indices, evenly spread, the first among them."""
    if most is None or most >= total:
        return range(total)
    return sorted({round(index) for index in np.linspace(0, total - 1, most)})
