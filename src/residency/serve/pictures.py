"""An upload's bytes in, a decoded picture out, or the reason why it is refused. Its name is never read.

What it is, is told by its content. Metadata is left behind: what is kept is a PNG of the pixels that the model sees.
"""

import hashlib
import io
import struct
import warnings
import zlib
from threading import BoundedSemaphore

from PIL import Image, UnidentifiedImageError

from residency.data.images import MAX_PIXELS

KINDS = ("PNG", "JPEG", "TIFF")
MAX_SIDE = 16_384
SMALLEST = 16
DEEP = ("I", "F")
"""Modes of more than 8 bits, which no viewer shows without a window."""
_FAILS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_DECODING = BoundedSemaphore(2)
"""Pictures that are decoded at once: 50 million pixels take 150 MB each."""


class Refused(Exception):
    """An upload that is not taken: the HTTP status, and why, in words."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the RGB picture of a PNG, JPEG or TIFF (its first page), converted as in training.

    Raises:
        Refused: it is none of these (415), too many pixels (413), damaged, or of more than 8 bits a channel (422).
    """
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=KINDS) as picture:
                _require_size(picture.size, max_pixels)
                if picture.mode.startswith(DEEP):
                    raise Refused(422, f"{picture.mode} pixels have more than 8 bits: save the picture with a window")
                return picture.convert("RGB")
        except Image.DecompressionBombError:
            raise Refused(413, "more pixels than are decoded") from None
        except UnidentifiedImageError:
            raise Refused(415, f"this is no {', '.join(KINDS)} picture") from None
        except MemoryError:
            raise Refused(413, "the picture unpacks to more than there is memory for") from None
        except _FAILS:
            raise Refused(422, "the picture is damaged: it cannot be decoded to its end") from None


def pack_picture(picture: Image.Image) -> tuple[bytes, str]:
    """Return a picture's PNG without any metadata, and its SHA-256."""
    file = io.BytesIO()
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(file, "PNG", compress_level=1)
    return file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest()


def _require_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE:
        raise Refused(413, f"{width} x {height} pixels are more than the {max_pixels} that are decoded")
    if min(size) < SMALLEST:
        raise Refused(422, f"{width} x {height} pixels are too few: at least {SMALLEST} a side")
