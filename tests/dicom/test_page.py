"""The commands of docs/dicom.md, given in order in a folder that has what they name."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="DICOM is read with residency[dicom]")
pytest.importorskip("rapidocr", reason="burned-in text is found with residency[ocr]")

from residency.data.dataset import load_dataset
from residency.dicom.allowed import KEPT
from residency.files import write_lines
from residency.types import Prediction
from tests.dicom.test_ingest import make_files, make_sheet
from tests.documents import ROOT, commands_of
from tests.run_command import run_residency

PAGE = ROOT / "docs" / "dicom.md"


def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path, patients=4)
    shutil.move(tmp_path / "images", tmp_path / "exports")
    make_sheet(tmp_path, patients=4)
    monkeypatch.chdir(tmp_path)
    commands = commands_of(PAGE)
    assert [command[1] for command in commands] == ["ingest"] * 2 + ["deidentify"] * 2 + ["draft"] * 3
    for command in commands:
        if command[1] == "draft" and not Path(command[2]).exists():
            made = [
                Prediction(id=one.id, model="nano", mode="own", split="test", prompt_sha256="0", prediction="liver")
                for one in load_dataset(tmp_path / "dataset").samples
                if one.suffix is not None
            ]
            write_lines(Path(command[2]), made)
        done = run_residency(*command[1:])
        assert done.code == 0, (command, done.err)
    assert len(list((tmp_path / "pictures" / "images").iterdir())) == 7
    assert len(list((tmp_path / "copies").glob("*.dcm"))) == 5
    assert len(list((tmp_path / "sr").iterdir())) == len(list((tmp_path / "sr-named").iterdir())) == 4
    unanswered = [json.loads(line) for line in (tmp_path / "unanswered" / "samples.jsonl").open()]
    assert len(unanswered) == 7 and not any("suffix" in sample for sample in unanswered)
    audited = run_residency("audit", tmp_path / "unanswered")
    assert audited.code == 0, audited.err


def test_the_page_counts_what_stays() -> None:
    assert f"{len(KEPT)} attributes that describe the picture" in PAGE.read_text()
