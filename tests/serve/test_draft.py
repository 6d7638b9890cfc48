"""A kept case as a draft of a report, through the running server: judged by validators that are not ours."""

import io
import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from pydicom import dcmread

from tests.serve.server import Server, serving
from tests.test_drafts import judge_dicom, judge_fhir, words_of


@pytest.fixture(scope="module")
def case(server: Server, pictures: list[Path]) -> str:
    """A case of eight answers: q6 edited, q1 rejected, q2 accepted by one and edited by the next; the rest bare."""
    case = str(server.interpret(pictures[2], group="Wilhelmina Featherstonehaugh")["case"])
    said = [{"question": "q6", "verdict": "edit", "text": "low image quality"}, {"question": "q1", "verdict": "reject"}]
    first = server.review(case, author="Dr. Li", answers=[*said, {"question": "q2", "verdict": "accept"}])
    assert first.status_code == 201, first.text
    edited = {"question": "q2", "verdict": "edit", "text": "fetal head to right"}
    assert server.review(case, author="Dr. Wu", rating=4, answers=[edited]).status_code == 201
    return case


def draft(server: Server, case: str, form: str) -> bytes:
    answer = server.client.get(f"/v1/cases/{case}/draft", params={"form": form})
    assert answer.status_code == 200, answer.text
    assert f'filename="{case}.' in answer.headers["content-disposition"]
    return answer.content


def test_a_bundle_says_what_reviewers_left_and_who_they_are(server: Server, case: str, tmp_path: Path) -> None:
    (tmp_path / "draft.json").write_bytes(draft(server, case, "fhir"))
    resources = [entry["resource"] for entry in judge_fhir(tmp_path / "draft.json")["entry"]]
    report = resources[0]
    assert report["status"] == "preliminary"
    assert "2 of 7 answers reviewed by Dr. Li, Dr. Wu. Research software." in report["conclusion"]
    assert "not for diagnosis" in report["text"]["div"] and "Wilhelmina" not in json.dumps(resources)
    told = {one["code"]["coding"][0]["code"]: one for one in resources if one["resourceType"] == "Observation"}
    assert set(told) == {f"q{number}" for number in range(2, 9)}
    assert {one["status"] for one in told.values()} == {"preliminary"}
    assert told["q6"]["valueString"] == "low image quality" and told["q2"]["valueString"] == "fetal head to right"
    notes = {question: one["note"][0]["text"] for question, one in told.items()}
    assert notes["q6"].startswith("Draft, this answer reviewed by Dr. Li.") and "Dr. Wu" in notes["q2"]
    assert "confidence" not in json.dumps(told["q6"]) and "confidence" in json.dumps(told["q8"])
    assert all("not reviewed" in notes[question] for question in ("q3", "q4", "q5", "q7", "q8"))


def test_a_structured_report_comes_with_its_capture(server: Server, case: str, tmp_path: Path) -> None:
    with ZipFile(io.BytesIO(draft(server, case, "sr"))) as folder:
        folder.extractall(tmp_path)
    capture, path = sorted(tmp_path.iterdir())
    assert path.name == f"{capture.stem[:-2]}.sr.dcm"
    report = judge_dicom(path)
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    words = words_of(report)
    assert "Image Quality: low image quality (reviewed by Dr. Li)" in words
    assert any("2 of 7 answers reviewed by Dr. Li, Dr. Wu" in text for text in words)
    referred = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [one.ReferencedSOPInstanceUID for one in referred] == [judge_dicom(capture).SOPInstanceUID]
    told = server.client.get(f"/v1/cases/{case}").json()["case"]
    assert dcmread(capture).pixel_array.shape[:2] == (told["height"], told["width"])


def test_a_reviewer_of_any_script_is_named_in_both(server: Server, pictures: list[Path], tmp_path: Path) -> None:
    case = str(server.interpret(pictures[0])["case"])
    every = [{"question": f"q{number}", "verdict": "accept"} for number in (2, 3)]
    assert server.review(case, author="李医生", answers=every).status_code == 201
    (tmp_path / "draft.json").write_bytes(draft(server, case, "fhir"))
    assert (
        "2 of 8 answers reviewed by 李医生" in judge_fhir(tmp_path / "draft.json")["entry"][0]["resource"]["conclusion"]
    )
    with ZipFile(io.BytesIO(draft(server, case, "sr"))) as folder:
        folder.extractall(tmp_path / "sr")
    report = judge_dicom(next((tmp_path / "sr").glob("*.sr.dcm")))
    assert sum("(reviewed by 李医生)" in text for text in words_of(report)) == 2


def test_a_later_review_makes_another_draft(server: Server, pictures: list[Path]) -> None:
    case = str(server.interpret(pictures[1])["case"])
    first, again = (json.loads(draft(server, case, "fhir"))["id"] for _ in range(2))
    assert first == again
    every = [{"question": f"q{number}", "verdict": "reject"} for number in range(1, 9)]
    assert server.review(case, author="Dr. Li", answers=every[:7]).status_code == 201
    assert json.loads(draft(server, case, "fhir"))["id"] != first
    assert server.review(case, author="Dr. Li", answers=every).status_code == 201
    none = server.client.get(f"/v1/cases/{case}/draft")
    assert (none.status_code, "every answer of this case was rejected" in none.text) == (422, True)
    assert server.client.get(f"/v1/cases/{'0' * 16}/draft").status_code == 404
    assert server.client.get(f"/v1/cases/{case}/draft", params={"form": "pdf"}).status_code == 422


def test_a_server_without_the_extra_says_so_and_writes_fhir(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden" / "highdicom.py"
    hidden.parent.mkdir()
    hidden.write_text("raise ImportError('as if it were not installed')")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    with serving(tmp_path / "bare", "--threads", 1) as bare:
        case = str(bare.interpret(pictures[0])["case"])
        refused = bare.client.get(f"/v1/cases/{case}/draft", params={"form": "sr"})
        assert refused.status_code == 501
        told = "this server writes no DICOM: highdicom is not installed (pip install 'residency[dicom]')"
        assert refused.json()["error"]["reason"] == told
        assert draft(bare, case, "fhir")
