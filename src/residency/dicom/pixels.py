"""A DICOM header in, its frames as pictures of 8 bits out: grey or red-green-blue, as a viewer would show them.

Follows DICOM PS3.3 C.7.6.3 (photometric interpretation) and C.11 (modality LUT, values of interest, presentation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from residency.dicom.codestream import read_claim
from residency.dicom.header import Limits, Refused, guarded
from residency.errors import MissingExtra

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
INTERPRETATIONS = (*GREY, "PALETTE COLOR", *COLOURS)
_RLE = "1.2.840.10008.1.2.5"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_BIG = 1e12


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header says of the pixels; sides in pixels."""

    rows: int
    columns: int
    samples: int
    frames: int
    bits: int
    stored: int
    interpretation: str


def read_shape(header: "Dataset", limits: Limits) -> Shape:
    """Return the pixels' shape as the header states it, checked against the limits.

    Raises:
        Refused: a field is missing or senseless, or there are more pixels than are decoded.
    """
    with guarded("its sizes"):
        shape = Shape(
            rows=_whole(header, "Rows"),
            columns=_whole(header, "Columns"),
            samples=_whole(header, "SamplesPerPixel", 1),
            frames=_whole(header, "NumberOfFrames", 1),
            bits=_whole(header, "BitsAllocated"),
            stored=_whole(header, "BitsStored", _whole(header, "BitsAllocated")),
            interpretation=str(header.get("PhotometricInterpretation", "MONOCHROME2")),
        )
    if shape.interpretation not in INTERPRETATIONS:
        raise Refused("unknown-colours", f"its photometric interpretation is none of {', '.join(INTERPRETATIONS)}")
    if shape.samples != (3 if shape.interpretation in COLOURS else 1):
        raise Refused("damaged", f"{shape.samples} samples a pixel do not fit {shape.interpretation}")
    if shape.bits not in (1, 8, 16, 32) or shape.stored > shape.bits:
        raise Refused("damaged", f"{shape.stored} bits of {shape.bits} allocated are not read")
    pixels = shape.rows * shape.columns
    if pixels > limits.frame_pixels or pixels * shape.frames > limits.all_pixels or shape.frames > limits.frames:
        asked = f"{shape.columns} x {shape.rows} pixels x {shape.frames} frame(s)"
        raise Refused("bomb", f"{asked} is more than we decode")
    return shape


def draw_frames(header: "Dataset", shape: Shape, indices: Sequence[int]) -> list[np.ndarray]:
    """Return frames by index (from 0), each (rows, columns) or (rows, columns, 3) in 8 bits.

    Grey frames of more than 8 bits without a window are stretched together from their lowest value to the highest.

    Raises:
        MissingExtra: what decodes this compression is not installed.
        Refused: damaged, or a compression that is not decoded.
    """
    _check_frames(header, shape)
    with guarded("decoding"), np.errstate(all="ignore"):
        raw = _decode(header, indices)
        expected = (shape.rows, shape.columns, *([3] if shape.samples == 3 else []))
        if any(frame.shape != expected for frame in raw):
            raise Refused("damaged", "the decoded picture is of another size than the header says")
        if shape.interpretation in COLOURS:
            return [_to_bytes(frame, 2**shape.stored - 1) for frame in raw]
        if shape.interpretation == "PALETTE COLOR":
            return [_paint(frame, header) for frame in raw]
        return _grey([_trimmed(frame, shape) for frame in raw], header, shape, indices)


def _decode(header: "Dataset", indices: Sequence[int]) -> list[np.ndarray]:
    from pydicom.pixels import get_decoder, iter_pixels

    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Refused("unknown-compression", f"its compression ({syntax.name}) is not decoded") from None
    if not decoder.is_available:
        raise MissingExtra(f"what decodes {syntax.name}", "dicom")
    return [np.asarray(frame) for frame in iter_pixels(header, indices=list(indices))]


def _check_frames(header: "Dataset", shape: Shape) -> None:
    """Refuse compressed frames whose own header claims another size than the DICOM header does, undecoded."""
    with guarded("its transfer syntax"):
        if not header.file_meta.TransferSyntaxUID.is_encapsulated:
            return
    from pydicom.encaps import generate_frames

    if header.file_meta.TransferSyntaxUID == _EXTENDED and shape.stored > 8:
        raise Refused("unknown-compression", "its compression (JPEG Extended of 12 bits) is not decoded")
    with guarded("its compressed frames"):
        frames = list(generate_frames(header.PixelData, number_of_frames=shape.frames))
    if len(frames) < shape.frames:
        raise Refused("damaged", f"{len(frames)} of {shape.frames} frames are there")
    bytes_of = shape.rows * shape.columns * shape.samples * max(1, shape.bits // 8)
    for frame in frames:
        if header.file_meta.TransferSyntaxUID == _RLE:
            # Run lengths at their worst take a byte more for 128; a longer frame would unpack to more than its size.
            if len(frame) > bytes_of * 1.02 + 4096:
                raise Refused("bomb", "a frame unpacks to more than its size")
            continue
        claim = read_claim(frame)
        if claim is None:
            raise Refused("damaged", "a compressed frame has no header that can be read")
        if (claim.rows, claim.columns, claim.components) != (shape.rows, shape.columns, shape.samples):
            found = f"{claim.columns} x {claim.rows} x {claim.components}"
            said = f"{shape.columns} x {shape.rows} x {shape.samples}"
            raise Refused("bomb", f"a compressed frame claims {found}, the header {said}")


def _trimmed(frame: np.ndarray, shape: Shape) -> np.ndarray:
    """Clear the bits above those stored, in which overlays may lie; the sign is kept."""
    spare = shape.bits - shape.stored
    return np.right_shift(np.left_shift(frame, spare), spare) if spare and frame.dtype.kind in "iu" else frame


def _to_bytes(frame: np.ndarray, top: float) -> np.ndarray:
    if frame.dtype == np.uint8 and top >= 255:
        return frame
    if not np.isfinite(frame).all() or not np.isfinite(top):
        raise Refused("damaged", "its window or rescaling is no number")
    return (frame.astype(np.float64) * (255 / top)).round().clip(0, 255).astype(np.uint8)


def _paint(frame: np.ndarray, header: "Dataset") -> np.ndarray:
    """Look colours up. Of tables of 16 bits the upper 8 count, unless all values lie in the lower (a known slip)."""
    from pydicom.pixels import apply_color_lut

    painted = apply_color_lut(frame, header)[..., :3]
    if painted.dtype != np.uint8:
        painted = painted >> 8 if painted.max(initial=0) > 255 else painted
    return painted.astype(np.uint8)


def _grey(raw: list[np.ndarray], header: "Dataset", shape: Shape, indices: Sequence[int]) -> list[np.ndarray]:
    """Apply modality LUT and window (or VOI LUT) and turn MONOCHROME1 around, with 255 for white."""
    from pydicom.pixels import apply_modality_lut

    own = [_with_groups(header, index) for index in indices]
    if all("WindowCenter" in told or told.get("VOILUTSequence") for told in own):
        pairs = zip(raw, own, strict=True)
        shown = [_windowed(apply_modality_lut(frame, told), told) for frame, told in pairs]
    elif shape.stored <= 8 and header.get("RescaleSlope") is None:
        shown = [_to_bytes(frame, 2**shape.stored - 1) for frame in raw]
    else:
        # Stretched; a slope below 0 would turn the picture around, so the modality LUT comes first.
        values = [apply_modality_lut(frame, told).astype(np.float32) for frame, told in zip(raw, own, strict=True)]
        low, high = min(frame.min() for frame in values), max(frame.max() for frame in values)
        shown = [_to_bytes(frame - low, max(float(high - low), 1e-9)) for frame in values]
    inverse = shape.interpretation == "MONOCHROME1" or header.get("PresentationLUTShape") == "INVERSE"
    return [255 - frame for frame in shown] if inverse else shown


def _windowed(frame: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_voi_lut

    if header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0]
        return _to_bytes(_looked_up(frame, table), 2 ** int(table.LUTDescriptor[2]) - 1)
    # The window's own ends: what lies far below and far above it.
    low, high = apply_voi_lut(np.array([-_BIG, _BIG]), header)
    return _to_bytes(apply_voi_lut(frame, header) - low, max(float(high - low), 1e-9))


def _looked_up(frame: np.ndarray, table: "Dataset") -> np.ndarray:
    """Look values up in a VOI table (PS3.3 C.11.2.1.1).

    pydicom 3.0 counts an 8-bit table's entries in 8 bits, and wraps around beyond 256.
    """
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = entries or 2**16
    data = table["LUTData"].value
    if isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8 if bits <= 8 and len(data) <= entries + 1 else np.dtype("<u2"))
    index = (frame.astype(np.int64) - first).clip(0, entries - 1)
    return np.atleast_1d(np.asarray(data))[index].astype(np.int64)


def _with_groups(header: "Dataset", index: int) -> "Dataset":
    """Return the header as one frame of an enhanced multi-frame file has it (PS3.3 C.7.6.16: functional groups)."""
    shared, each = header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")
    if not shared and not each:
        return header
    from pydicom.dataset import Dataset

    own = Dataset()
    for keyword in ("PhotometricInterpretation", "BitsStored", "PixelRepresentation"):
        if keyword in header:
            setattr(own, keyword, header[keyword].value)
    groups = [*(shared or [])[:1], *([each[index]] if each and index < len(each) else [])]
    for group in groups:
        for name in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            for element in group[name][0] if group.get(name) else ():
                own[element.tag] = element
    return own


def _whole(header: "Dataset", keyword: str, default: int | None = None) -> int:
    """Return a field as a whole number of at least 1.

    Raises:
        Refused: it is missing without a default, or no such number.
    """
    value: Any = header.get(keyword)
    if value in (None, ""):
        value = default
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number < 1:
        raise Refused("damaged", f"{keyword} is missing or no whole number")
    return number
