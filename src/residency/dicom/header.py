"""The bytes of a DICOM file in, its header out, within limits and before any pixel is decoded; or why it is refused."""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from residency.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAGIC_AT = 128
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PLAIN = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
"""Uncompressed transfer syntaxes by (implicit VR, little endian)."""
_FAILS = (
    OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, EOFError,
    RuntimeError, MemoryError, SyntaxError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and the decoders raise on damaged files (RuntimeError: unsupported syntaxes and nesting too deep)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask for: bytes as it lies and inflated, pixels of a frame, frames, pixels of all frames."""

    file_bytes: int = 512 * 2**20
    frame_pixels: int = 50_000_000
    frames: int = 4_000
    all_pixels: int = 400_000_000


LIMITS = Limits()


class Refused(UserError):
    """A DICOM file that is not used; `kind` is a stable name. The message never quotes a value of the file."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message, exit_code=1)
        self.kind = kind

    def __reduce__(self) -> tuple[type["Refused"], tuple[str, str]]:
        return Refused, (self.kind, self.what)


@contextmanager
def guarded(doing: str) -> Iterator[None]:
    """Turn what a damaged file makes pydicom or a decoder raise into a Refused that names no value.

    Raises:
        Refused: `damaged`.
    """
    from PIL.Image import DecompressionBombError
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        # Both ways of warning quote values: a patient's name would stand in the log.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (*_FAILS, BytesLengthException, InvalidDicomError, DecompressionBombError) as error:
        raise Refused("damaged", f"{doing}: the file is damaged ({type(error).__name__})") from None


def prepare_pydicom() -> None:
    """Make pydicom quiet (its messages quote values) and lenient (values are checked where they are used).

    Raises:
        MissingExtra: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtra("pydicom", "dicom") from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def is_dicom(start: bytes) -> bool:
    """Tell by a file's first 132 bytes whether it is DICOM."""
    return start[_MAGIC_AT : _MAGIC_AT + 4] == b"DICM"


def read_bytes(source: Path | bytes, limits: Limits = LIMITS) -> bytes:
    """Return the file's bytes.

    Raises:
        Refused: `too-large`, or `unreadable` by the system.
    """
    if isinstance(source, bytes):
        size, data = len(source), source
    else:
        try:
            if not source.is_file():  # a pipe would be waited for
                raise Refused("unreadable", "is no file")
            size = source.stat().st_size
            data = source.read_bytes() if size <= limits.file_bytes else b""
        except OSError as error:
            raise Refused("unreadable", f"cannot be opened: {error.strerror}") from None
    if size > limits.file_bytes:
        raise Refused("too-large", f"{size:,} bytes is more than the {limits.file_bytes:,} that are read")
    return data


def read_header(data: bytes, limits: Limits = LIMITS) -> "Dataset":
    """Parse a file: all its attributes, pixel data still encoded, and the transfer syntax in `file_meta`.

    Raises:
        MissingExtra: pydicom is not installed.
        Refused: no DICOM, damaged, a bomb, or without a picture.
    """
    prepare_pydicom()
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    with guarded("reading it"):
        header = _inflated(data, limits) or dcmread(io.BytesIO(data), force=True)
        if not is_dicom(data) and not {"Rows", "Columns", "PixelData"} <= {*header.dir()}:
            raise Refused("no-dicom", "is no DICOM file")
        meta = getattr(header, "file_meta", None) or FileMetaDataset()
        if "TransferSyntaxUID" not in meta:
            implicit, little = header.original_encoding
            meta.TransferSyntaxUID = UID(_PLAIN[bool(implicit), bool(little)])
        header.file_meta = meta
        if "PixelData" not in header:
            raise Refused("no-picture", "holds no picture: it is a report, a plan or a directory, or was cut short")
    return header


def _inflated(data: bytes, limits: Limits) -> "Dataset | None":
    """Return what a deflated file holds, inflated up to the limit; None for every other file.

    pydicom itself inflates without a limit: 1 MB may become 1 GB.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    file = io.BytesIO(data)
    file.seek(_MAGIC_AT + 4 if is_dicom(data) else 0)
    group_2 = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if group_2.get("TransferSyntaxUID") != _DEFLATED:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data[file.tell() :], limits.file_bytes)
    if inflater.unconsumed_tail:
        raise Refused("bomb", f"inflates to more than {limits.file_bytes:,} bytes")
    inside = read_dataset(io.BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
    meta = FileMetaDataset(group_2)
    meta.TransferSyntaxUID = UID(_PLAIN[False, True])
    return FileDataset(io.BytesIO(), inside, data[:_MAGIC_AT], meta, is_implicit_VR=False, is_little_endian=True)
