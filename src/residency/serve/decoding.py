"""An upload's bytes in, by its content a picture or a DICOM file; a de-identified RGB picture and what it was out.

DICOM files are decoded in a process of their own, by allow-list; text that is burned into them is masked before
anything else sees them (extras `dicom` and `ocr`).
"""

from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np
from PIL import Image

from residency.data.images import MAX_PIXELS
from residency.dicom.apart import Apart
from residency.dicom.burned import TextReader, clear_text
from residency.dicom.deidentify import name_group
from residency.dicom.header import Limits, is_dicom
from residency.dicom.header import Refused as Unusable
from residency.dicom.pictures import boxes_of
from residency.dicom.read import clear_raw
from residency.dicom.veil import Veil
from residency.errors import MissingExtra
from residency.serve.pictures import Refused, decode_picture
from residency.types import Record

Masking = Literal["dicom", "all", "none"]
"""Where burned-in text is looked for and masked: in DICOM files, in every upload, nowhere."""
SECONDS = 30.0
_STATUS = {"too-large": 413, "bomb": 413, "no-dicom": 415, "no-picture": 415}


class Removed(Record):
    """One thing that a DICOM file no longer has, and what was done; never its value."""

    what: str
    tag: str
    done: str


class Origin(Record):
    """What an upload was: of a clip the first frame is read; boxes (x0, y0, x1, y1) of burned-in text were masked."""

    kind: Literal["picture", "dicom"] = "picture"
    frames: int = 1
    masked: tuple[tuple[int, int, int, int], ...] = ()
    removed: tuple[Removed, ...] = ()
    spacing_unknown: str = ""


@dataclass(frozen=True)
class Decoded:
    """A picture without anything that names a person; `group` is a DICOM file's patient or study by a hashed name."""

    image: Image.Image
    origin: Origin
    group: str | None = None
    spacing_mm: tuple[float, float] | None = None


class Decoder:
    """Decodes uploads, safe to share between threads; `close` ends its process. `veil` hides who they are of."""

    def __init__(self, veil: Veil, masking: Masking = "dicom", file_bytes: int = 32 << 20) -> None:
        self.masking = masking
        self.veil = veil
        self._limits = Limits(file_bytes=file_bytes, frame_pixels=MAX_PIXELS)
        self._apart = Apart(seconds=SECONDS)
        self._reader: TextReader | None = None
        self._lock = Lock()

    def decode(self, data: bytes) -> Decoded:
        """Return what an upload shows.

        Raises:
            Refused: it cannot be used; why.
        """
        if is_dicom(data[:132]):
            try:
                return self._decode_dicom(data)
            except Unusable as error:
                raise Refused(_STATUS.get(error.kind, 422), f"the DICOM file {error.what} [{error.kind}]") from None
            except MissingExtra as error:
                raise Refused(415, f"DICOM is not read on this server: {error.what}") from None
        image = decode_picture(data)
        if self.masking != "all":
            return Decoded(image, Origin())
        cleared = clear_text([np.asarray(image)], self._text_reader())
        boxes = tuple(sorted({text.box for text in cleared.texts}))
        return Decoded(Image.fromarray(cleared.frames[0]), Origin(masked=boxes))

    def close(self) -> None:
        """End the process that decodes."""
        self._apart.close()

    def _decode_dicom(self, data: bytes) -> Decoded:
        raw = self._apart.read_raw(data, self._limits, self.veil, most=1)
        keep = self.masking == "none"
        reading = clear_raw(raw, None if keep else self._text_reader(), "keep" if keep else "mask")
        origin = Origin(
            kind="dicom",
            frames=reading.total,
            masked=boxes_of(reading),
            removed=tuple(Removed(what=r.name, tag=r.tag, done=r.action) for r in reading.removed),
            spacing_unknown=reading.scale.why,
        )
        group = name_group(reading.identity.patient, reading.identity.study)
        return Decoded(reading.frames[0].picture.convert("RGB"), origin, group, reading.spacing_mm)

    def _text_reader(self) -> TextReader:
        with self._lock:
            if self._reader is None:
                self._reader = TextReader(threads=1)
            return self._reader
