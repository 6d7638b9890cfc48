"""A de-identified reading in, a DICOM file of what may stay out: its pictures in 8 bits, uncompressed, text masked."""

import io
from typing import TYPE_CHECKING

import numpy as np

from residency.dicom.burned import Burned
from residency.dicom.read import Reading

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ULTRASOUND = {
    "1.2.840.10008.5.1.4.1.1.6": False,
    "1.2.840.10008.5.1.4.1.1.6.1": False,
    "1.2.840.10008.5.1.4.1.1.3": True,
    "1.2.840.10008.5.1.4.1.1.3.1": True,
}
"""Classes of ultrasound pictures, retired ones too, and whether they are of several frames."""
_ONE, _CLIP = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_GREY_CLIP, _COLOUR_CLIP = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.4"
_FRAME_TIME = 0x00181063
_SLOW = 40.0
"""Milliseconds a frame where the file does not say: 25 frames a second."""


def tell_copy(reading: Reading, burned: Burned) -> bytes:
    """Return the file; ultrasound stays ultrasound, what was another picture is a secondary capture.

    The attributes of other kinds of pictures do not fit 8 bits that a window was burned into.
    """
    from copy import deepcopy

    header = deepcopy(reading.header)
    frames = np.stack([np.asarray(frame.picture) for frame in reading.frames])
    of_ultrasound = str(header.get("SOPClassUID", "")) in _ULTRASOUND
    clip = _ULTRASOUND[str(header.SOPClassUID)] if of_ultrasound else len(frames) > 1
    header.SOPClassUID = _class_of(of_ultrasound, clip, frames.ndim == 4)
    if not of_ultrasound:
        header.ConversionType = "WSD"
        header.Modality = header.get("Modality") or "OT"
    describe_pixels(header, frames, clip)
    header.ImageType = ["DERIVED", "SECONDARY"]
    header.BurnedInAnnotation = "YES" if burned == "keep" else "NO"
    for keyword in ("PatientSex", "InstanceNumber", "SeriesNumber", "PatientOrientation", "Laterality", "Manufacturer"):
        if keyword not in header:
            setattr(header, keyword, None)
    return write_file(header)


def write_file(header: "Dataset") -> bytes:
    """Return a data set with its pixels as a DICOM file (explicit VR, little endian)."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _class_of(of_ultrasound: bool, clip: bool, colour: bool) -> str:
    if of_ultrasound:
        return _CLIP if clip else _ONE
    return (_COLOUR_CLIP if colour else _GREY_CLIP) if clip else CAPTURE


def describe_pixels(header: "Dataset", frames: np.ndarray, clip: bool) -> None:
    """Write pixels (frames, rows, columns[, 3]) of 8 bits, and what describes them."""
    header.SpecificCharacterSet = "ISO_IR 192"
    header.Rows, header.Columns = frames.shape[1:3]
    header.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    header.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        header.PlanarConfiguration = 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation = 7, 0
    if clip:
        header.NumberOfFrames = len(frames)
        header.FrameTime = header.get("FrameTime") or _SLOW
        header.FrameIncrementPointer = _FRAME_TIME
    elif "NumberOfFrames" in header:
        del header.NumberOfFrames
    pixels = np.ascontiguousarray(frames).tobytes()
    header.PixelData = pixels + b"\0" * (len(pixels) % 2)
