"""The ultrasound files of pydicom's package go in; burned-in hospital, date and numbers are gone from what comes out.

What is burned in was read by eye: examples_jpeg2k and examples_rgb_color `BAPTIST MED CTR`, examples_palette `Philips
Healthcare`, `5/25/2011`, `2:56:22 PM` and the patient's number, examples_ybr_color `PLA` (the patient's name).
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rapidocr", reason="burned-in text is found with residency[ocr]")
from pydicom import dcmread
from pydicom.data import get_testdata_file

from residency.dicom.burned import TextReader
from tests.run_command import Done, run_residency

BURNED = {  # (x0, y0, x1, y1) of letters in the picture
    "examples_jpeg2k.dcm": [(20, 26, 168, 40), (20, 42, 88, 104), (280, 42, 358, 56)],
    "examples_rgb_color.dcm": [(10, 13, 84, 20), (10, 21, 44, 52), (140, 21, 179, 28)],
    "examples_palette.dcm": [(94, 36, 265, 52), (327, 36, 511, 52), (670, 9, 774, 24), (670, 36, 780, 52)],
    "examples_ybr_color.dcm": [(12, 3, 30, 11)],
}
IDENTIFIERS = (
    "BAPTIST", "Philips Healthcare", "5/25/2011", "20110525", "20040826", "11-05-25-142825", "2:56:22", "13US1",
    "CompressedSamples", "20160503", "mvme22", "OEM-4K7CO2TYJWP", "4121885", "SonoSite Private",
)  # fmt: skip


class Flow(NamedTuple):
    folder: Path
    done: Done
    names: dict[str, list[str]]
    """Pictures of the dataset by the file they came from."""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    folder = tmp_path_factory.mktemp("package")
    (folder / "files").mkdir()
    for name in BURNED:
        shutil.copy(get_testdata_file(name, download=False), folder / "files" / name)
    out, salt = folder / "dataset", folder / "salt"
    source = ("--images", folder / "files", "--questionnaire", "fetal8")
    done = run_residency("ingest", *source, "--out", out, "--frames", 3, "--salt", salt)
    assert done.code == 0, done.err
    digests = {record["sha256"]: [] for record in _records(out)}
    for record in _records(out):
        digests[record["sha256"]].append(record["image"])
    from residency.files import sha256_file

    return Flow(folder, done, {name: digests[sha256_file(folder / "files" / name)] for name in BURNED})


def _records(dataset: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (dataset / "dicom.jsonl").read_text().splitlines()]


def _text_in(path: Path, reader: TextReader) -> list[str]:
    return [text.letters for text in reader.find(np.asarray(Image.open(path)))]


def test_the_package_files_still_show_what_was_read_by_eye() -> None:
    reader = TextReader()
    header = dcmread(get_testdata_file("examples_rgb_color.dcm", download=False))
    letters = " ".join(text.letters for text in reader.find(header.pixel_array))
    assert "BAPTIST" in letters


def test_every_burned_in_place_is_black_on_every_frame(flow: Flow) -> None:
    for name, places in BURNED.items():
        assert len(flow.names[name]) == (3 if "ybr" in name else 1)
        for image in flow.names[name]:
            picture = np.asarray(Image.open(flow.folder / "dataset" / "images" / image).convert("L"))
            for x0, y0, x1, y1 in places:
                assert picture[y0:y1, x0:x1].max() == 0, (name, image, (x0, y0, x1, y1))
            assert picture.mean() > 4, name  # the picture itself is there


def test_text_is_not_found_again_and_no_identifier_is_in_any_output(flow: Flow) -> None:
    reader = TextReader()
    found = {path.name: _text_in(path, reader) for path in sorted((flow.folder / "dataset/images").iterdir())}
    assert not [letters for lines in found.values() for letters in lines if sum(map(str.isalnum, letters)) > 2], found
    outputs = [path for path in (flow.folder / "dataset").rglob("*") if path.is_file()]
    assert len(outputs) >= 14
    for path in outputs:
        data = path.read_bytes().lower()
        assert not [word for word in IDENTIFIERS if word.lower().encode() in data], path
    told = (flow.done.out + flow.done.err).lower()
    assert not [word for word in IDENTIFIERS if word.lower() in told]


def test_what_was_removed_is_told_without_values(flow: Flow) -> None:
    rows = list(csv.DictReader((flow.folder / "dataset" / "removed.csv").read_text().splitlines()))
    done = {(row["what"], row["done"]) for row in rows}
    assert {("PatientID", "hashed"), ("StudyDate", "emptied"), ("InstitutionName", "removed")} <= done
    assert {("private", "removed"), ("burned-in text", "masked")} <= done
    assert {row["image"] + ".png" for row in rows if row["what"] == "PatientName"} >= {
        name for names in flow.names.values() for name in names if name.count("-") == 1
    }


def test_two_files_of_one_patient_are_one_group_and_wrong_scales_are_refused(flow: Flow) -> None:
    samples = {sample["image"]: sample for sample in map(json.loads, (flow.folder / "dataset/samples.jsonl").open())}
    groups = {name: samples[f"images/{flow.names[name][0]}"]["group"] for name in BURNED}
    assert groups["examples_jpeg2k.dcm"] == groups["examples_rgb_color.dcm"]
    assert len(set(groups.values())) == 3
    # The package's makers halved the pictures and left the regions: 0.51 mm a pixel would be wrong by 2.
    reasons = {record["image"]: record["spacing_unknown"] for record in _records(flow.folder / "dataset")}
    for name in ("examples_palette.dcm", "examples_ybr_color.dcm"):
        assert "outside the picture" in str(reasons[flow.names[name][0]])
        assert "spacing_mm" not in samples[f"images/{flow.names[name][0]}"]


def test_a_file_with_text_is_refused_where_that_was_asked(flow: Flow, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(flow.folder / "files" / "examples_rgb_color.dcm", folder)
    done = run_residency("deidentify", folder, "--out", tmp_path / "out", "--burned", "refuse")
    assert done.code == 1
    assert "line(s) of text are burned into the picture [burned-in-text]" in done.err
    assert not (tmp_path / "out").exists()


def test_text_is_masked_without_a_network_and_without_a_file_elsewhere(tmp_path: Path) -> None:
    """Without a route: models lie in the package, and nothing is fetched or written elsewhere."""
    apart = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unshare may not make a network namespace here")
    (tmp_path / "files").mkdir()
    (tmp_path / "home").mkdir()
    shutil.copy(get_testdata_file("examples_rgb_color.dcm", download=False), tmp_path / "files")
    command = [sys.executable, "-m", "residency", "deidentify", "files", "--out", "out"]
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path)}
    done = subprocess.run([*apart, *command], cwd=tmp_path, env=os.environ | home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "masked: " in done.stdout
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "home", "out"]
