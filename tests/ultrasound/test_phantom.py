"""A folder of studies: layout, agreement of sheet and truth, equal files for equal seeds, defects and their records."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import load_workbook
from PIL import Image
from rapidfuzz.distance import OSA

from residency.data.normalize import parse_answer
from residency.errors import UserError
from residency.files import sha256_file
from residency.questionnaire import load_questionnaire
from residency.types import Quantity
from residency.ultrasound.phantom import SITES, write_phantom
from residency.ultrasound.phantom.mess import edit_word, find_wordings, misspell_word
from residency.ultrasound.phantom.sheet import headings, order_images

FETAL8 = load_questionnaire("fetal8")


def read_truth(folder):
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def read_rows(folder):
    return [list(row) for row in load_workbook(folder / "answers.xlsx").active.iter_rows(values_only=True)]


def canonical(truth, id):
    answer = truth["answers"][id]
    parts = {name: value for name, value in truth["parts"].items() if name.startswith(f"{id}.")}
    plain = {
        k: Quantity(**v) if isinstance(v, dict) else tuple(v) if isinstance(v, list) else v for k, v in parts.items()
    }
    answer = tuple(answer) if isinstance(answer, list) else answer
    return in_one_order(answer), {id: in_one_order(value) for id, value in plain.items()}


def reads(question, text):
    """Return a cell's answer and parts as the sheet's reader takes them, sets as sorted tuples, and its problems."""
    read = parse_answer(question, text)
    return in_one_order(read.answer), {id: in_one_order(value) for id, value in read.parts.items()}, read.problems


def in_one_order(value):
    return tuple(sorted(value)) if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "clean"
    return write_phantom(out, 14, 3, size=64, workers=1)


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "messy"
    return write_phantom(out, 60, 5, size=64, workers=1, messy=True)


def test_the_folder_holds_what_the_summary_says(clean):
    folder = Path(clean.folder)
    truths, rows = read_truth(folder), read_rows(folder)
    assert rows[0] == headings() and rows[0][6].startswith("Q1:\nAnatomical Structures")
    assert len(rows) - 1 == len(truths) == clean.images == sum(clean.categories.values())
    for truth, row in zip(truths, rows[1:], strict=True):
        path = folder / truth["image"]
        assert path.parent.name == truth["category"] == row[2] and path.name == row[0]
        assert truth["patient"] == row[1] and truth["spacing_mm"][0] == row[4]
        with Image.open(path) as picture:
            assert max(picture.size) == 64


def test_every_site_s_wording_reads_back_as_the_truth(tmp_path):
    for site in SITES:
        write_phantom(tmp_path / site, 6, 8, site, size=64, workers=1)
        rows = read_rows(tmp_path / site)
        for truth, row in zip(read_truth(tmp_path / site), rows[1:], strict=True):
            for question, text in zip(FETAL8.questions, row[6:], strict=True):
                answer, parts, problems = reads(question, text)
                assert not problems, (site, text)
                assert (answer, parts) == canonical(truth, question.id), (site, text)


def test_equal_calls_write_equal_files_whatever_the_workers(clean, tmp_path):
    again = write_phantom(tmp_path / "again", 14, 3, size=64, workers=2)
    first, second = Path(clean.folder), Path(again.folder)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all(sha256_file(first / name) == sha256_file(second / name) for name in names)


def test_a_patient_has_one_age_one_site_and_fitting_planes():
    orders = order_images(80, 1)
    by_patient = {}
    for order in orders:
        by_patient.setdefault(order.patient, set()).add((order.subject.weeks, order.site, order.annotator))
    assert len(by_patient) == 80 and all(len(states) == 1 for states in by_patient.values())
    for order in orders:
        assert ("NT" in order.category) == (order.subject.weeks < 14)
    assert {order.site for order in orders} == {"meridian", "lowland", "summit", "delta"}
    assert {order.site for order in order_images(5, 1, "harbour")} == {"harbour"}


def test_only_so_many_are_annotated(tmp_path):
    summary = write_phantom(
        tmp_path / "demo", 30, 2, "harbour", size=64, workers=1, annotate={"femur": 3, "abdomen": 2}
    )
    rows, truths = read_rows(tmp_path / "demo")[1:], read_truth(tmp_path / "demo")
    told = [row for row in rows if any(row[6:])]
    assert summary.annotated == len(told) == 5 == sum(truth["annotated"] for truth in truths)
    assert sorted(row[2] for row in told) == ["abdomen"] * 2 + ["femur"] * 3
    assert summary.images > 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"patients": 0}, "too few patients"),
        ({"site": "nowhere"}, "no simulated site"),
        ({"annotate": {"knee": 3}}, "unknown categories"),
        ({"annotate": {"femur": 300}}, "too few images"),
        ({"size": 8}, "no such image size"),
    ],
)
def test_wrong_calls_are_told(tmp_path, call, message):
    with pytest.raises(UserError, match=message):
        write_phantom(**({"out": tmp_path / "x", "patients": 3, "seed": 0, "workers": 1} | call))
    assert not (tmp_path / "x").exists()


def test_a_script_without_a_guard_is_told_of_it_once(tmp_path):
    """Each drawing process imports the script; one that draws there again must not start processes without end."""
    script = tmp_path / "script.py"
    call = f"write_phantom(Path({str(tmp_path / 'out')!r}), patients=8, seed=1)"
    script.write_text(f"from pathlib import Path\nfrom residency.ultrasound.phantom import write_phantom\n{call}\n")
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert 'do:      call it below `if __name__ == "__main__":`' in told.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_phantom(tmp_path, 3, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_each_defect_is_recorded_where_it_stands(messy):
    folder = Path(messy.folder)
    page = load_workbook(folder / "answers.xlsx").active
    defects = [json.loads(line) for line in (folder / "defects.jsonl").read_text().splitlines()]
    assert messy.defects == len(defects) > 100
    last = {defect["cell"]: defect for defect in defects}
    for cell, defect in last.items():
        assert str(page[cell].value) == defect["after"] != defect["before"]
    kinds = {defect["kind"] for defect in defects}
    assert kinds >= {"capitals", "misspelling", "full-stop", "synonym", "spaces", "word-order", "image-name"}
    rows = {defect["cell"][1:] for defect in defects if defect["kind"] == "spaces"}
    assert 0.1 < len(rows) / messy.images < 0.42
    for defect in defects:
        if defect["kind"] == "misspelling":
            assert OSA.distance(defect["before"], defect["after"]) == 1


def test_restorable_defects_can_be_restored_and_others_not(messy):
    folder = Path(messy.folder)
    defects = [json.loads(line) for line in (folder / "defects.jsonl").read_text().splitlines()]
    lost = {defect["cell"] for defect in defects if not defect["restorable"]}
    page, wrong, cells = load_workbook(folder / "answers.xlsx").active, 0, 0
    for number, truth in enumerate(read_truth(folder), 2):
        for question, column in zip(FETAL8.questions, "GHIJKLMN", strict=True):
            value = page[f"{column}{number}"].value
            answer, parts, problems = reads(question, str(value))
            if f"{column}{number}" in lost:
                assert problems and (isinstance(value, datetime) or "0 weeks" in value)
                continue
            cells += 1
            wanted, wanted_parts = canonical(truth, question.id)
            wrong += answer != wanted or set(parts) != set(wanted_parts)
    assert cells > 1000 and wrong <= 0.005 * cells


def test_a_misspelling_has_one_origin():
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(200):
        spoiled = misspell_word("q7", "normal", rng)
        # `anormal` could be `abnormal`, too, and is never planted.
        assert spoiled is None or (OSA.distance(spoiled, "normal") == 1 and OSA.distance(spoiled, "abnormal") > 1)
        assert OSA.distance(edit_word("vertebrae", rng), "vertebrae") <= 1
    assert [name for _, _, name in find_wordings("q1", "ribs; fetal skull")] == ["fetal skull", "rib cage"]
