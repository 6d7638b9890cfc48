"""Reports and notes in free text through the installed command; small files as MIMIC publishes them."""

import shutil
from pathlib import Path

from tests.data.make import draw_image
from tests.data.test_sources import draw_all, fail, ingest, kinds, write_table
from tests.documents import ROOT

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with fever  // infection?

 COMPARISON:  None.

 FINDINGS:

 The lungs are clear.  There is no
 pleural effusion.

 IMPRESSION:

 No acute process{}.
"""


def write_study(folder: Path, patient: int, study: int, text: str, views: int = 1) -> None:
    place = folder / "files" / f"p1{patient}"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"s5{study}.txt").write_text(text)
    for view in range(views):
        draw_image(place / f"s5{study}" / f"d{study}{view}.jpg", seed=10 * study + view)


def test_mimic_cxr_reports_are_split_into_findings_and_impression(tmp_path: Path) -> None:
    folder = tmp_path / "mimic"
    write_study(folder, 1, 1, REPORT.format(""), views=2)
    write_study(folder, 1, 2, REPORT.format(" since ___"))
    write_study(folder, 2, 3, "WET READ: line seen\n CONCLUSION: Tip in the stomach.\n")
    write_study(folder, 3, 4, "Chest, one view. Heart large.")
    write_study(folder, 4, 5, "FINDINGS AND IMPRESSION:\n Large heart.\n")
    rows = ("d10,51,11,train", "d11,51,11,train", "d20,52,11,train", "d30,53,12,validate", "d50,55,14,test")
    write_table(folder / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", *rows)
    told, dataset = ingest(folder, tmp_path / "out", group_by="column:patient")
    assert kinds(told) == {"blank": 1, "no-section": 1}
    found = {(s.image.rpartition("/")[2], s.prefix): s.suffix for s in dataset.samples}
    assert found["d11.jpg", "<DETAILED_CAPTION>"] == "The lungs are clear. There is no pleural effusion."
    assert found["d11.jpg", "<CAPTION>"] == "No acute process."
    assert found["d30.jpg", "<CAPTION>"] == "Tip in the stomach." and ("d30.jpg", "<DETAILED_CAPTION>") not in found
    assert found["d50.jpg", "<DETAILED_CAPTION>"] == "Large heart."
    assert not [suffix for (image, _), suffix in found.items() if image == "d40.jpg" and suffix]
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [6, 1, 1]
    assert dataset.samples[0].attributes == {"patient": "p11", "study": "s51"}
    shutil.rmtree(folder / "files" / "p12" / "s53")
    write_table(folder / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", *rows[:2], "d20,52,11,test")
    assert "s53.txt: no image in s53/" in fail(folder, tmp_path / "bad")
    write_study(folder, 2, 3, REPORT.format(""))
    done = fail(folder, tmp_path / "leak", "--group-by", "column:patient")
    assert "group `p11` stands in test and train" in done


def test_a_table_of_reports(tmp_path: Path) -> None:
    draw_all(tmp_path / "images", "a.png b.png c.png d.png")
    table = write_table(
        tmp_path / "reports.csv", "image,patient,report", 'a.png,1,"FINDINGS: Clear.\nIMPRESSION: Normal."',
        'b.png,2,"FINDINGS: Opacity."', "c.png,3,nothing said", "d.png,5,OPINION: Old.",
        "lost.png,4,IMPRESSION: Normal.",
    )  # fmt: skip
    asked = ("--sheet", str(table), "--format", "mimic-cxr")
    assert "no image `lost.png`" in fail(tmp_path / "images", tmp_path / "bad", *asked)
    told, dataset = ingest(tmp_path / "images", tmp_path / "out", *asked, "--skip-bad")
    assert kinds(told) == {"missing-image": 1, "no-section": 1}
    assert [(s.prefix, s.suffix) for s in dataset.samples if s.suffix] == [
        ("<DETAILED_CAPTION>", "Clear."), ("<CAPTION>", "Normal."), ("<DETAILED_CAPTION>", "Opacity."),
        ("<CAPTION>", "Old."),
    ]  # fmt: skip


def test_notes_answer_a_questionnaire_by_rule_and_doubts_stay_unanswered(tmp_path: Path) -> None:
    draw_all(tmp_path / "images", "a.png b.png c.png d.png e.png")
    table = write_table(
        tmp_path / "NOTEEVENTS.csv", "ROW_ID,SUBJECT_ID,CATEGORY,TEXT,image",
        '1,11,Radiology,"ETT in place, PPM seen. No pleural effusion, but cardiomegaly.\nTip distance: 3.5 cm",a.png',
        '2,12,Radiology,"Small effusion. No ETT. Heart is normal.",b.png',
        '3,13,Radiology,"Possible effusion. Cardiomegaly. Heart is normal.",c.png',
        "4,14,Nursing,Slept well.,d.png", "5,15,Radiology,PPM.,e.png",
    )  # fmt: skip
    asked = ("--sheet", str(table), "--format", "notes")
    assert "say what to look for: --questionnaire" in fail(tmp_path / "images", tmp_path / "bad", *asked)
    asked += ("--questionnaire", str(ROOT / "recipes" / "chest-notes.questionnaire.yaml"))
    told, dataset = ingest(tmp_path / "images", tmp_path / "out", *asked, group_by="column:SUBJECT_ID")
    assert kinds(told) == {"doubtful-note": 2}
    found = {(s.image.rpartition("/")[2][0], s.question): s.suffix for s in dataset.samples if s.suffix}
    assert found == {
        ("a", "effusion"): "no", ("a", "devices"): "endotracheal tube, pacemaker", ("a", "heart"): "enlarged heart",
        ("a", "tip"): "3.5 cm", ("b", "effusion"): "yes", ("b", "devices"): "none", ("b", "heart"): "normal heart size",
        ("e", "devices"): "pacemaker",
    }  # fmt: skip
    assert next(s for s in dataset.samples if s.question == "tip").columns["evidence"] == "Tip distance: 3.5 cm"
    flags = [flag["message"] for flag in told["flags"]]
    assert "effusion: `Possible effusion` is said in doubt: left unanswered" in flags
    write_table(table, "ROW_ID,SUBJECT_ID,NOTE_BODY,image", "1,2,ETT,a.png")
    assert "has no column TEXT" in fail(tmp_path / "images", tmp_path / "bad", *asked)
