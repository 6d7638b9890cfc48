"""What a viewer would show, through `residency deidentify`: windows, tables, colours, compression, scale and frames."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom", reason="DICOM is read with residency[dicom]")
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.dicom.files import as_jpeg, made_header, speckle, with_overlay, with_pixels, with_regions, write_dicom
from tests.run_command import run_residency

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


class Read(NamedTuple):
    pixels: np.ndarray
    record: dict[str, Any]


def read(folder: Path, *options: object) -> dict[str, Read]:
    """Run the command over the folder's files; return pictures and records by the file's name."""
    out, key = folder.parent / "out", folder.parent / "key.csv"
    done = run_residency("deidentify", folder, "--out", out, "--burned", "keep", "--key", key, *options)
    assert done.code == 0, done.err
    records = {record["image"]: record for record in map(json.loads, (out / "dicom.jsonl").open())}
    named = list(csv.reader(key.open()))[1:]
    return {name: Read(np.asarray(Image.open(out / "images" / image)), records[image]) for name, image in named}


def twelve_bits(**changes: object) -> Dataset:
    header = with_pixels(made_header(int(RAMP.sum()) + len(str(changes))), RAMP)
    header.BitsStored, header.HighBit = 12, 11
    for keyword, value in changes.items():
        setattr(header, keyword, value)
    return header


def test_grey_pictures_are_windowed_as_the_standard_says(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 8], (np.arange(4096) // 32 + 100).astype(np.uint16).tolist()
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    headers = {
        "window": twelve_bits(WindowCenter=1000, WindowWidth=400),
        "exact": twelve_bits(WindowCenter=1000, WindowWidth=400, VOILUTFunction="LINEAR_EXACT"),
        "sigmoid": twelve_bits(WindowCenter=1000, WindowWidth=400, VOILUTFunction="SIGMOID"),
        "inverse": twelve_bits(WindowCenter=1000, WindowWidth=400, PhotometricInterpretation="MONOCHROME1"),
        "shaped": twelve_bits(WindowCenter=1000, WindowWidth=400, PresentationLUTShape="INVERSE"),
        "rescaled": twelve_bits(WindowCenter=100, WindowWidth=800, RescaleSlope=0.5, RescaleIntercept=-1000),
        "table": twelve_bits(VOILUTSequence=Sequence([table])),
        "stretched": twelve_bits(),
        "first-of-two": twelve_bits(WindowCenter=[1000, 50], WindowWidth=[400, 10]),
    }
    for name, header in headers.items():
        header.SOPInstanceUID = f"1.2.3.{len(name)}.{sum(name.encode())}"
        write_dicom(tmp_path / "files" / name, header)
    found = {name: one.pixels.astype(float) for name, one in read(tmp_path / "files").items()}
    values = RAMP.astype(float)
    linear = ((values - 999.5) / 399 + 0.5).clip(0, 1) * 255
    rescaled = ((values * 0.5 - 1000 - 99.5) / 799 + 0.5).clip(0, 1) * 255
    expected = {
        "window": linear,
        "exact": ((values - 1000) / 400 + 0.5).clip(0, 1) * 255,
        "sigmoid": 255 / (1 + np.exp(-4 * (values - 1000) / 400)),
        "inverse": 255 - linear,
        "shaped": 255 - linear,
        "rescaled": rescaled,
        "table": values // 32 + 100,
        "stretched": values / values.max() * 255,
        "first-of-two": linear,
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(found[name], wanted, atol=0.51, err_msg=name)


def test_signs_overlays_and_padding_bits_do_not_disturb(tmp_path: Path) -> None:
    signed = with_pixels(made_header(1), RAMP.astype(np.int16) - 2048)
    signed.WindowCenter, signed.WindowWidth = 0, 4096
    dirty = with_pixels(made_header(2), speckle(1).astype(np.uint16) | 0xF000)
    dirty.BitsStored, dirty.HighBit = 8, 7
    write_dicom(tmp_path / "files" / "signed", signed)
    write_dicom(tmp_path / "files" / "dirty", dirty)
    write_dicom(tmp_path / "files" / "overlay", with_overlay(with_pixels(made_header(3), speckle(2))))
    found = read(tmp_path / "files")
    np.testing.assert_allclose(found["signed"].pixels, (RAMP.astype(float) + 0.5) / 4095 * 255, atol=0.6)
    np.testing.assert_array_equal(found["dirty"].pixels, speckle(1))
    np.testing.assert_array_equal(found["overlay"].pixels, speckle(2))


def test_colours_of_every_kind_become_red_green_blue(tmp_path: Path) -> None:
    picture = speckle(3, colours=True)
    planar = with_pixels(made_header(1), picture)
    planar.PlanarConfiguration, planar.PixelData = 1, np.moveaxis(picture, 2, 0).tobytes()
    full = with_pixels(made_header(2), np.asarray(Image.fromarray(picture).convert("YCbCr")), "YBR_FULL")
    palette = with_pixels(made_header(3), speckle(4), "PALETTE COLOR")
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        lookup = (np.arange(256, dtype=np.uint16) // (number + 1)) << 8
        setattr(palette, f"{colour}PaletteColorLookupTableData", lookup.tobytes())
    for name, header in (("planar", planar), ("full", full), ("palette", palette)):
        write_dicom(tmp_path / "files" / name, header)
    write_dicom(tmp_path / "files" / "jpeg", as_jpeg(made_header(4), [picture]))
    found = read(tmp_path / "files")
    np.testing.assert_array_equal(found["planar"].pixels, picture)
    np.testing.assert_allclose(found["full"].pixels.astype(int), picture, atol=3)
    np.testing.assert_allclose(found["jpeg"].pixels.astype(int), picture, atol=12)
    looked_up = np.stack([speckle(4) // (number + 1) for number in range(3)], axis=2)
    np.testing.assert_array_equal(found["palette"].pixels, looked_up)


COMPRESSED = {  # pydicom's own files; equal pictures by compression
    "SC_rgb_small_odd.dcm": None, "MR_small.dcm": None, "MR_small_RLE.dcm": "MR_small.dcm",
    "MR_small_jp2klossless.dcm": "MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "MR_small_bigendian.dcm": "MR_small.dcm", "MR_small_implicit.dcm": "MR_small.dcm", "SC_rgb_rle.dcm": None,
    "SC_rgb_jpeg_gdcm.dcm": "SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm": "SC_rgb_rle.dcm", "image_dfl.dcm": None,
    "SC_rgb_dcmtk_+eb+cy+np.dcm": "SC_rgb_rle.dcm", "JPEGLSNearLossless_08.dcm": None, "examples_jpeg2k.dcm": None,
    "color3d_jpeg_baseline.dcm": None,
}  # fmt: skip


def test_every_compression_gives_the_picture_that_was_compressed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for name in COMPRESSED:
        if path := get_testdata_file(name, download=False):  # some are fetched from the net by pydicom, and not here
            shutil.copy(path, tmp_path / "files" / name)
    found = read(tmp_path / "files", "--frames", 1)
    assert len(found) >= 14
    for name, same_as in COMPRESSED.items():
        if same_as:
            off = np.abs(found[name].pixels.astype(int) - found[same_as].pixels)
            assert off.mean() < (5 if "dcmtk" in name else 0.1), name  # JPEG baseline loses


def test_twelve_bit_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    shutil.copy(get_testdata_file("JPGExtended.dcm", download=False), tmp_path / "files")
    done = run_residency("deidentify", tmp_path / "files", "--out", tmp_path / "out", "--burned", "keep")
    assert done.code == 1
    assert "JPEG Extended of 12 bits" in done.err


def test_frames_of_a_clip_become_pictures(tmp_path: Path) -> None:
    frames = [speckle(seed, colours=True) for seed in range(12)]
    write_dicom(tmp_path / "files" / "clip.dcm", with_pixels(made_header(1), np.stack(frames)))
    found = read(tmp_path / "files", "--frames", 4)
    assert [*found] == ["clip.dcm#1", "clip.dcm#5", "clip.dcm#8", "clip.dcm#12"]
    for name, one in found.items():
        number = int(name.partition("#")[2])
        np.testing.assert_array_equal(one.pixels, frames[number - 1])
        assert (one.record["frame"], one.record["frames"]) == (number, 12)


def test_the_scale_is_told_only_where_it_is_sure(tmp_path: Path) -> None:
    def picture(number: int) -> Dataset:
        return with_pixels(made_header(number), speckle(number))

    spaced, senseless, twice, outside, hertz = (picture(number) for number in range(2, 7))
    spaced.PixelSpacing, senseless.PixelSpacing = [0.25, 0.5], [0, 4e9]
    with_regions(twice)
    twice.SequenceOfUltrasoundRegions.append(with_regions(picture(9), (0.05, 0.05)).SequenceOfUltrasoundRegions[0])
    with_regions(outside).SequenceOfUltrasoundRegions[0].RegionLocationMaxX1 = 700
    with_regions(hertz).SequenceOfUltrasoundRegions[0].PhysicalUnitsXDirection = 4
    headers = {"region": with_regions(picture(1)), "spaced": spaced, "senseless": senseless, "twice": twice}
    for name, header in (headers | {"outside": outside, "hertz": hertz}).items():
        write_dicom(tmp_path / "files" / name, header)
    found = {name: one.record for name, one in read(tmp_path / "files").items()}
    assert found["region"]["spacing_mm"] == [0.2, 0.3]
    assert found["spaced"]["spacing_mm"] == [0.25, 0.5]
    reasons = {name: record.get("spacing_unknown") for name, record in found.items() if "spacing_mm" not in record}
    assert {*reasons} == {"senseless", "twice", "outside", "hertz"}
    assert "several scales" in reasons["twice"] and "outside the picture" in reasons["outside"]
    assert "would measure 0 x 4e+09 mm" in reasons["senseless"] and "states no size" in reasons["hertz"]
