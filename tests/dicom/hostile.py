"""A seed in, a folder of DICOM files that must all be refused out: damaged, lying, bombs, of wrong types, in circles.

from tests.dicom.hostile import make_hostile
paths = make_hostile(tmp_path, seed=0)      # at least 60 files; not one of them holds a picture that may be used
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)  # fmt: skip

from tests.dicom.files import file_bytes, made_header, save_as, speckle, with_pixels

Case = tuple[str, bytes]
_SIDE = 32
MPEG4 = "1.2.840.10008.1.2.4.102"


def make_hostile(folder: Path, seed: int = 0) -> list[Path]:
    """Write every case as NAME.dcm into the folder, which is made; return the paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for name, data in (*_cut(rng), *_garbage(rng), *_fields(), *_types(), *_streams(rng), *_nested(), *_syntaxes(rng)):
        paths.append(folder / f"{name}.dcm")
        paths[-1].write_bytes(data)
    return paths


def _plain(colours: bool = False) -> Dataset:
    return with_pixels(made_header(), speckle(0, _SIDE, colours))


def _cut(rng: np.random.Generator) -> Iterator[Case]:
    """Truncated files: at fixed places, then at places drawn before the end of the pixels."""
    whole = file_bytes(_plain())
    for length in (0, 1, 127, 128, 131, 132, 140, 170, 300):
        yield f"cut-at-{length}", whole[:length]
    for number, length in enumerate(sorted(rng.integers(400, len(whole) - 40, 8).tolist())):
        yield f"cut-drawn-{number}", whole[:length]
    yield "cut-pixels-by-half", whole[: -_SIDE * _SIDE // 2]


def _garbage(rng: np.random.Generator) -> Iterator[Case]:
    """Files that are something else, or nothing."""
    noise = rng.bytes(5000)
    yield "noise", noise
    yield "noise-after-magic", bytes(128) + b"DICM" + noise
    yield "zeros", bytes(5000)
    yield "magic-alone", bytes(128) + b"DICM"
    yield "text", b"Patient: nobody\n" * 50
    picture = io.BytesIO()
    Image.fromarray(speckle(1)).save(picture, "PNG")
    yield "a-png", picture.getvalue()
    yield "a-zip", b"PK\x03\x04" + noise
    yield "wrong-magic", file_bytes(_plain())[:128] + b"DICN" + noise
    yield "magic-twice", bytes(128) + b"DICM" + bytes(124) + b"DICM" + noise
    yield "page", b"<html><script>alert(1)</script></html>" * 20


def _fields() -> Iterator[Case]:
    """Headers whose fields lie about the pixels."""
    changes: dict[str, dict[str, object]] = {
        "rows-0": {"Rows": 0},
        "columns-0": {"Columns": 0},
        "bomb-65535-square": {"Rows": 65535, "Columns": 65535},
        "rows-65535": {"Rows": 65535},
        "frames-2-billion": {"NumberOfFrames": 2**31 - 1},
        "frames-5000": {"NumberOfFrames": 5000},
        "frames-7": {"NumberOfFrames": 7},
        "frames-negative": {"NumberOfFrames": -1},
        "frames-0": {"NumberOfFrames": 0},
        "samples-0": {"SamplesPerPixel": 0},
        "samples-2": {"SamplesPerPixel": 2},
        "samples-65535": {"SamplesPerPixel": 65535},
        "samples-3-grey": {"SamplesPerPixel": 3},
        "bits-0": {"BitsAllocated": 0},
        "bits-7": {"BitsAllocated": 7},
        "bits-64": {"BitsAllocated": 64, "BitsStored": 64},
        "bits-stored-more": {"BitsStored": 12},
        "bits-16-half-there": {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15},
        "colours-unknown": {"PhotometricInterpretation": "HSV"},
        "colours-script": {"PhotometricInterpretation": "<SCRIPT>"},
        "palette-without-table": {"PhotometricInterpretation": "PALETTE COLOR"},
        "window-width-0": {"WindowCenter": 40, "WindowWidth": 0},
        "window-function-unknown": {"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "CUBIC"},
        "sign-7": {"PixelRepresentation": 7},
    }
    for name, change in changes.items():
        header = _plain()
        for keyword, value in change.items():
            setattr(header, keyword, value)
        yield name, file_bytes(header)
    for keyword in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "PixelData"):
        header = _plain()
        del header[keyword]
        yield f"without-{keyword}", file_bytes(header)
    header = _plain(colours=True)
    header.PlanarConfiguration = 9
    yield "planar-9", file_bytes(header)
    header = _plain()
    header.PixelData = b""
    yield "pixels-empty", file_bytes(header)
    header = _plain()
    header.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(header, f"{colour}PaletteColorLookupTableDescriptor", [0, 0, 16])
        setattr(header, f"{colour}PaletteColorLookupTableData", b"\1\2")
    yield "palette-cut", file_bytes(header)


def _types() -> Iterator[Case]:
    """Elements of wrong types and lengths, written byte by byte."""
    whole = file_bytes(_plain())
    rows, pixels = _place(whole, 0x0028, 0x0010), _place(whole, 0x7FE0, 0x0010)
    yield "rows-as-text", _swap(whole, rows, 10, _element(0x0028, 0x0010, b"LO", b"abcd"))
    yield "rows-as-sequence", _swap(whole, rows, 10, _long(0x0028, 0x0010, b"SQ", b"\1\2\3\4"))
    yield "rows-as-bytes", _swap(whole, rows, 10, _long(0x0028, 0x0010, b"OB", bytes(64)))
    yield "rows-as-double-nan", _swap(whole, rows, 10, _element(0x0028, 0x0010, b"FD", struct.pack("<d", float("nan"))))
    yield "rows-as-infinity", _swap(whole, rows, 10, _element(0x0028, 0x0010, b"FD", struct.pack("<d", float("inf"))))
    yield "rows-empty", _swap(whole, rows, 10, _element(0x0028, 0x0010, b"US", b""))
    yield "rows-odd-length", _swap(whole, rows, 10, _element(0x0028, 0x0010, b"US", b"\1\2\3"))
    yield "rows-longer-than-file", whole[: rows + 6] + struct.pack("<H", 65000) + whole[rows + 8 :]
    yield "frames-as-words", _swap(whole, rows, 0, _element(0x0028, 0x0008, b"IS", b"1; DROP TABLE"))
    yield "frames-as-float", _swap(whole, rows, 0, _element(0x0028, 0x0008, b"IS", b"1e9 "))
    yield "pixels-of-4-billion", whole[: pixels + 8] + struct.pack("<I", 0xFFFFFFF0) + whole[pixels + 12 : pixels + 40]
    yield "pixels-undefined-length", whole[: pixels + 8] + struct.pack("<I", 0xFFFFFFFF) + whole[pixels + 12 :]
    yield "pixels-as-sequence", whole[: pixels + 4] + b"SQ" + whole[pixels + 6 :]


def _streams(rng: np.random.Generator) -> Iterator[Case]:
    """Compressed frames that are damaged, missing, or claim another size."""
    noise = rng.bytes(2000)
    jpeg, jpeg_2000 = _encoded("JPEG"), _encoded("JPEG2000", no_jp2=True)
    start = jpeg.index(b"\xff\xc0")
    size = jpeg_2000.index(b"\xff\x51")
    vast = jpeg[: start + 5] + struct.pack(">HH", 65535, 65535) + jpeg[start + 9 :]
    vast_2000 = jpeg_2000[: size + 6] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + jpeg_2000[size + 14 :]
    frames: dict[str, tuple[str, list[bytes]]] = {
        "jpeg-noise": (JPEGBaseline8Bit, [noise]),
        "jpeg-bomb": (JPEGBaseline8Bit, [vast]),
        "jpeg-of-three-colours": (JPEGBaseline8Bit, [_encoded("JPEG", colours=True)]),
        "jpeg-of-another-size": (JPEGBaseline8Bit, [_encoded("JPEG", side=64)]),
        "jpeg-start-alone": (JPEGBaseline8Bit, [b"\xff\xd8\xff\xd9"]),
        "jpeg-without-scan": (JPEGBaseline8Bit, [jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9"]),
        "jpeg-markers-for-ever": (JPEGBaseline8Bit, [b"\xff\xd8" + b"\xff" * 4000]),
        "jpeg-is-a-png": (JPEGBaseline8Bit, [_encoded("PNG")]),
        "jpeg-lossless-noise": (JPEGLosslessSV1, [jpeg[: start + 20].replace(b"\xff\xc0", b"\xff\xc3") + noise]),
        "jpeg-ls-noise": (JPEGLSLossless, [jpeg[: start + 20].replace(b"\xff\xc0", b"\xff\xf7") + noise]),
        "jpeg-2000-noise": (JPEG2000Lossless, [jpeg_2000[:100] + noise]),
        "jpeg-2000-bomb": (JPEG2000, [vast_2000]),
        "jpeg-2000-cut": (JPEG2000, [jpeg_2000[:48]]),
        "rle-noise": (RLELossless, [noise]),
        "rle-offsets-beyond": (RLELossless, [struct.pack("<16I", 1, *[2**31] * 15) + noise[:100]]),
        "rle-15-segments": (RLELossless, [struct.pack("<16I", 15, *range(64, 79)) + noise[:100]]),
        "rle-bomb": (RLELossless, [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000]),
        "rle-short": (RLELossless, [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x00\x01"]),
        "fragment-empty": (JPEGBaseline8Bit, [b""]),
    }
    for name, (syntax, fragments) in frames.items():
        yield name, _compressed(syntax, _wrapped(fragments))
    yield "fragments-none", _compressed(JPEGBaseline8Bit, _wrapped([]))
    yield "fragments-not-there", _compressed(JPEGBaseline8Bit, noise[:64])
    header = _plain()
    header.NumberOfFrames = 3
    yield "fragments-of-1-for-3", _compressed(JPEGBaseline8Bit, _wrapped([jpeg]), header)
    whole = _compressed(JPEGBaseline8Bit, _wrapped([jpeg]))
    yield "fragment-cut", whole[: len(whole) - len(jpeg) // 2]
    table = b"\xfe\xff\x00\xe0\x08\0\0\0" + struct.pack("<II", 2**31, 2**32 - 1)
    yield "offset-table-beyond", _compressed(JPEGBaseline8Bit, table + b"\xfe\xff")


def _nested() -> Iterator[Case]:
    """Sequences within sequences, without an end, and directories that point at themselves."""
    whole = file_bytes(_plain())
    pixels = _place(whole, 0x7FE0, 0x0010)
    open_item = _long(0x0040, 0x0275, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    yield "nested-3000-deep", whole[:pixels] + open_item * 3000 + whole[pixels:]
    yield "sequence-without-end", whole[:pixels] + open_item + whole[pixels:]
    yield "item-longer-than-file", whole[:pixels] + open_item[:16] + b"\xff\xff\xff\x7f" + whole[pixels:]
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 300
    record.DirectoryRecordType = "IMAGE"
    directory = made_header()
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 300
    directory.DirectoryRecordSequence = Sequence([record])
    yield "directory-in-a-circle", file_bytes(directory)


def _syntaxes(rng: np.random.Generator) -> Iterator[Case]:
    """Transfer syntaxes that are unknown, not decoded, or inflate without end."""
    for name, syntax in (
        ("unknown", "1.2.840.10008.1.2.9.99"),
        ("mpeg-4", MPEG4),
        ("script", "<script>"),
        ("none", ""),
    ):
        yield f"syntax-{name}", _compressed(syntax, _wrapped([_encoded("JPEG")]))
    head = file_bytes(save_as(_plain(), DeflatedExplicitVRLittleEndian))
    start = 144 + struct.unpack_from("<I", head, 140)[0]
    meta = head[:start]
    yield "deflated-noise", meta + rng.bytes(3000)
    yield "deflated-cut", head[: (start + len(head)) // 2]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush blocks stand alone, so that one may be repeated.
    megabyte = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = megabyte * 700 + packer.flush()
    yield "deflated-bomb-700-mb", meta + bomb


def _compressed(syntax: str, fragments: bytes, header: Dataset | None = None) -> bytes:
    """Return a file whose pixels are these bytes, without end but for the delimiter, in a transfer syntax."""
    whole = file_bytes(header or _plain())
    meta_end = 144 + struct.unpack_from("<I", whole, 140)[0]
    named = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = _element(0x0002, 0x0010, b"UI", named)
    pixels = _long(0x7FE0, 0x0010, b"OB", fragments + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF)
    start = _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    return whole[:132] + start + meta + whole[meta_end : _place(whole, 0x7FE0, 0x0010)] + pixels


def _wrapped(fragments: list[bytes]) -> bytes:
    """Return fragments as items behind an empty offset table."""
    items = [b"", *(fragment + b"\0" * (len(fragment) % 2) for fragment in fragments)]
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)


def _encoded(kind: str, colours: bool = False, side: int = _SIDE, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(speckle(2, side, colours)).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _place(whole: bytes, group: int, element: int) -> int:
    return whole.rindex(struct.pack("<HH", group, element))


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH", group, element) + vr + struct.pack("<H", len(value)) + value


def _long(group: int, element: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH", group, element) + vr + b"\0\0" + struct.pack("<I", size) + value


def _swap(whole: bytes, place: int, length: int, element: bytes) -> bytes:
    return whole[:place] + element + whole[place + length :]
