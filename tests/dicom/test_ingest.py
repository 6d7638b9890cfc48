"""DICOM folders through `residency ingest`: found by the sheet's names, grouped by hidden patients, and scaled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom", reason="DICOM is read with residency[dicom]")

from residency.dicom.veil import open_veil
from tests.data.make import HEADINGS, ROW, draw_image, write_book
from tests.dicom.files import PLANTED, made_header, speckle, with_pixels, with_regions, write_dicom
from tests.run_command import Done, run_residency

PATIENTS = 9


def make_files(folder: Path, patients: int = PATIENTS) -> Path:
    """Write `images/`: a still of each patient, named with the patient's name, and a clip of the first."""
    for number in range(patients):
        header = with_regions(with_pixels(made_header(number, f"QX778{number}"), speckle(number)), (0.01, 0.02))
        write_dicom(folder / "images" / "Featherstonehaugh" / f"still{number}.dcm", header)
    clip = np.stack([speckle(50 + number) for number in range(3)])
    write_dicom(folder / "images" / "IM0001", with_pixels(made_header(77, "QX7780"), clip))
    return folder / "images"


def make_sheet(folder: Path, patient: bool = False, patients: int = PATIENTS) -> Path:
    rows: list[tuple[object, ...]] = [HEADINGS]
    names = [f"still{number}.dcm" for number in range(patients - 1)] + [f"STILL{patients - 1}", "IM0001#2"]
    for number, name in enumerate(names):
        rows.append((name, f"qx778{number % patients}" if patient else None, "abdomen", "A", *ROW))
    return write_book(folder / "answers.xlsx", {"Annotations": rows})


def ingest(folder: Path, *options: object) -> Done:
    source = ("--images", folder / "images", "--sheet", folder / "answers.xlsx", "--questionnaire", "fetal8")
    return run_residency("ingest", *source, "--out", folder / "dataset", "--burned", "keep", *options)


def samples_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dataset" / "samples.jsonl").open()]


def test_a_sheet_finds_dicom_files_and_their_frames(tmp_path: Path) -> None:
    make_files(tmp_path)
    make_sheet(tmp_path)
    done = ingest(tmp_path, "--salt", tmp_path / "salt")
    assert done.code == 0, done.err
    assert f"groups: {PATIENTS}" in done.out
    samples = samples_of(tmp_path)
    records = {f"images/{one['image']}": one for one in map(json.loads, (tmp_path / "dataset/dicom.jsonl").open())}
    answered = {sample["image"] for sample in samples if "suffix" in sample}
    assert len(answered) == PATIENTS + 1 and len(records) == PATIENTS + 3
    assert {records[image]["frame"] for image in answered if records[image]["frames"] == 3} == {2}
    veil = open_veil(tmp_path / "salt")
    assert {sample["group"] for sample in samples} == {veil.name("P", f"QX778{n}") for n in range(PATIENTS)}
    for sample in samples:
        still = records[sample["image"]]["frames"] == 1
        assert sample.get("spacing_mm") == ([0.1, 0.2] if still else None)
        assert sample["attributes"]["machine"] == "Echo Works EW-1" and sample["attributes"]["age"] == "31"
    clip = [sample for sample in samples if records[sample["image"]]["frames"] == 3]
    assert {sample["group"] for sample in clip} == {veil.name("P", "QX7780")}
    first = Image.open(tmp_path / "dataset" / clip[0]["image"])
    assert any(np.array_equal(np.asarray(first), speckle(50 + number)) for number in range(3))


def test_nothing_that_names_a_patient_is_in_the_dataset_and_sources_stay(tmp_path: Path) -> None:
    images = make_files(tmp_path)
    make_sheet(tmp_path, patient=True)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*") if path.is_file()}
    done = ingest(tmp_path, "--group-by", "column:Patient")
    assert done.code == 0, done.err
    for path in (tmp_path / "dataset").rglob("*"):
        if path.is_file():
            data = path.read_bytes().lower()
            assert not [word for word in (*PLANTED, "qx778", "20240229") if word.lower().encode() in data], path
    assert not [word for word in PLANTED if word in done.out]
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.rglob("*") if path.is_file()
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.xlsx", "dataset", "images"]
    # The clip's other frames have no row: the patient in their file is the one that the sheet's rows name.
    samples = samples_of(tmp_path)
    assert len({sample["group"] for sample in samples}) == PATIENTS


def test_a_clip_without_a_frame_and_a_refused_file_are_told_with_what_to_write(tmp_path: Path) -> None:
    make_files(tmp_path)
    (tmp_path / "images" / "broken.dcm").write_bytes(bytes(500))
    rows = [HEADINGS, ("IM0001", None, "abdomen", "A", *ROW), ("broken.dcm", None, "abdomen", "A", *ROW)]
    rows.append(("IM0002.dcm", None, "abdomen", "A", *ROW))
    write_book(tmp_path / "answers.xlsx", {"Annotations": rows})
    done = ingest(tmp_path)
    assert done.code == 1
    assert "`IM0001` may be any of 3 images (nearest: IM0001#1, IM0001#2, IM0001#3)" in done.err
    assert "`broken.dcm`: is no DICOM file" in done.err
    assert f"no image `IM0002.dcm` in {tmp_path / 'images'} [missing-image]" in done.err
    assert not (tmp_path / "dataset").exists()


def test_pictures_beside_dicom_files_are_left_out_and_counted(tmp_path: Path) -> None:
    make_files(tmp_path)
    make_sheet(tmp_path)
    draw_image(tmp_path / "images" / "thumbnail.png")
    (tmp_path / "images" / "readme.txt").write_text("from the ward")
    done = ingest(tmp_path)
    assert done.code == 0, done.err
    assert "1 file(s) beside the DICOM files are no DICOM and were left out" in done.out
    assert "beside-dicom 2" in done.out
    named = [HEADINGS, ("thumbnail.png", None, "abdomen", "A", *ROW)]
    write_book(tmp_path / "answers.xlsx", {"Annotations": named})
    asked = ingest(tmp_path, "--replace")
    assert asked.code == 1
    assert "`thumbnail.png`: is a plain picture beside DICOM files: ingest it from a folder of its own" in asked.err


def test_plain_pictures_still_need_a_grouping(tmp_path: Path) -> None:
    draw_image(tmp_path / "images" / "a.png")
    write_book(tmp_path / "answers.xlsx", {"Annotations": [HEADINGS, ("a.png", "P1", "abdomen", "A", *ROW)]})
    plain = (
        "ingest",
        "--images",
        tmp_path / "images",
        "--sheet",
        tmp_path / "answers.xlsx",
        "--questionnaire",
        "fetal8",
    )
    done = run_residency(*plain, "--out", tmp_path / "dataset")
    assert done.code == 2
    assert "say what must stay together in a split" in done.err and "dicom (the patient" in done.err
    asked = run_residency(*plain, "--out", tmp_path / "dataset", "--group-by", "dicom")
    assert asked.code == 1 and "the image is no DICOM file" in asked.err
    salted = run_residency(*plain, "--out", tmp_path / "dataset", "--group-by", "image", "--salt", tmp_path / "salt")
    assert salted.code == 2 and "are about DICOM files" in salted.err
    assert not (tmp_path / "salt").exists()


def test_a_dataset_of_dicom_files_is_audited_and_split_without_a_leak(tmp_path: Path) -> None:
    make_files(tmp_path)
    make_sheet(tmp_path)
    assert ingest(tmp_path).code == 0
    done = run_residency("audit", tmp_path / "dataset")
    assert done.code == 0, done.err
    splits = json.loads((tmp_path / "dataset" / "splits.json").read_text())["folds"][0]
    assert not {*splits["train"]} & {*splits["test"]}
    assert all(group.startswith("P-") for groups in splits.values() for group in groups)


def test_a_broken_file_among_plain_pictures_is_a_problem_like_others(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [HEADINGS]
    for number in range(5):
        draw_image(tmp_path / "images" / f"{number}.png", seed=number)
        rows.append((f"{number}.png", f"P{number}", "abdomen", "A", *ROW))
    (tmp_path / "images" / "stray.dcm").write_bytes(bytes(500))
    (tmp_path / "images" / "named.dcm").write_bytes(b"from the ward")
    (tmp_path / "images" / "bad.png").write_bytes(b"no picture")
    rows += [(name, "P9", "abdomen", "A", *ROW) for name in ("bad.png", "named.dcm")]
    write_book(tmp_path / "answers.xlsx", {"Annotations": rows})
    done = ingest(tmp_path, "--group-by", "column:Patient")
    assert done.code == 1
    assert "check failed: ingest: 3 problem(s)" in done.err
    for told in ("`bad.png`: cannot be decoded", "`named.dcm`: is no DICOM file", "  stray.dcm: is no DICOM file"):
        assert told in done.err
    done = ingest(tmp_path, "--group-by", "column:Patient", "--skip-bad")
    assert done.code == 0, done.err
    assert "skipped rows: 2" in done.out and "stray.dcm" in done.out
    assert {sample["image"].rpartition("/")[2] for sample in samples_of(tmp_path)} == {f"{n}.png" for n in range(5)}
    assert "say what must stay together in a split" in ingest(tmp_path, "--skip-bad", "--replace").err
