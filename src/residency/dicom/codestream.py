"""A compressed frame in, the size that its own header claims out, so that a bomb is refused before it is decoded."""

import struct
from dataclasses import dataclass

_STARTS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
"""Markers of a frame header in JPEG (ITU T.81, table B.1) and JPEG-LS (T.87: F7)."""
_ALONE = {0x01, *range(0xD0, 0xD8)}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a codestream says of itself: rows, columns, components."""

    rows: int
    columns: int
    components: int


def read_claim(frame: bytes) -> Claim | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 codestream claims; None where it is none of these or is cut short."""
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        # A JP2 file's boxes may stand before the codestream, which begins with SOC and SIZ.
        start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
        return _jpeg_2000(frame, start + 4) if start >= 0 else None
    except (struct.error, IndexError):
        return None


def _jpeg(frame: bytes) -> Claim | None:
    place = 2
    while frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", frame, place + 2)
        if marker in _STARTS:
            rows, columns, components = struct.unpack_from(">HHB", frame, place + 5)
            return Claim(rows, columns, components)
        if marker == 0xDA:
            return None
        place += 2 + length
    return None


def _jpeg_2000(frame: bytes, place: int) -> Claim:
    """Read the SIZ segment (ITU T.800, A.5.1), `place` being its length field."""
    right, bottom, left, top = struct.unpack_from(">IIII", frame, place + 4)
    (components,) = struct.unpack_from(">H", frame, place + 36)
    return Claim(bottom - top, right - left, components)
