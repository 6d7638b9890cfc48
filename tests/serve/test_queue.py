"""`residency queue`: the next annotation round, as a table and as an answer sheet that ingest takes back."""

import csv
import json
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from residency.data.dataset import load_dataset
from residency.serve.rank import rank_images
from tests.made_run import make_dataset
from tests.run_command import call_residency, run_residency


def test_unsure_images_unlike_what_is_known_come_first() -> None:
    features = np.array([[1.0, 0.0], [0.99, 0.05], [-1.0, 0.1], [-1.0, 0.0], [0.0, 1.0]])
    known = np.array([[1.0, 0.02]])
    unsure = np.array([0.9, 0.9, 0.5, 0.4, 0.5])
    order = [turn.row for turn in rank_images(features, unsure, [""] * 5, known, [""])]
    assert set(order[:2]) == {2, 4}, "far from the known one, and from each other"
    assert order.index(3) > order.index(4), "2's neighbour waits"
    again = [turn.row for turn in rank_images(features, unsure, [""] * 5, known, [""], most=2)]
    assert again == order[:2]


def test_rare_answers_come_before_common_ones() -> None:
    features = np.eye(4)
    turns = rank_images(features, np.full(4, 0.5), ["common", "common", "rare", "rare"], np.eye(4)[:1], ["common"])
    assert [turn.row for turn in turns][:1] == [2]
    assert turns[0].rarity == 1.0
    assert {turn.row for turn in turns} == {0, 1, 2, 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in which some images wait for answers."""
    folder = tmp_path_factory.mktemp("waiting") / "dataset"
    make_dataset(folder, np.random.default_rng(3), 9, 1)
    return folder


def test_a_dataset_s_unanswered_images_are_ranked(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "queue.csv"
    done = run_residency("queue", dataset, "--model", "nano", "--balance", "q3", "--out", out, "--json")
    assert done.code == 0, done.err
    samples = load_dataset(dataset).samples
    answered = {sample.image for sample in samples if sample.suffix is not None}
    waiting = {sample.image for sample in samples} - answered
    rows = list(csv.DictReader(out.open()))
    assert waiting and {row["image"] for row in rows} == waiting
    assert [int(row["rank"]) for row in rows] == list(range(1, len(waiting) + 1))
    assert {row["patient"] for row in rows} <= {sample.group for sample in samples}
    told = json.loads(done.out)
    assert (told["images"], told["annotated"], told["balanced"]) == (len(waiting), len(answered), "q3")
    assert float(rows[0]["score"]) == pytest.approx(
        float(rows[0]["uncertainty"]) * float(rows[0]["distance"]) * float(rows[0]["rarity"]), abs=1e-3
    )


def test_a_folder_becomes_a_sheet_to_fill_in(pictures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "next.xlsx"
    (pictures[0].parent / "broken.png").write_bytes(b"no picture")
    done = run_residency("queue", pictures[0].parent, "--model", "nano", "--out", out, "--most", 4)
    (pictures[0].parent / "broken.png").unlink()
    assert done.code == 0, done.err
    assert "unreadable" in done.out and "broken.png" in done.out
    sheet = openpyxl.load_workbook(out).active
    assert sheet is not None
    rows = list(sheet.values)
    assert rows[0][:3] == ("Image", "Patient", "Annotator") and len(rows) == 5
    filled = tmp_path / "filled.xlsx"
    book = openpyxl.load_workbook(out)
    assert book.active is not None
    for number in range(2, len(rows) + 1):
        book.active.cell(number, 2).value = f"P{number}"
        book.active.cell(number, 6).value = "trans-thalamic view"
    book.save(filled)
    back = ["--images", pictures[0].parent, "--questionnaire", "fetal8", "--group-by", "column:Patient"]
    assert call_residency("ingest", "--sheet", filled, *back, "--out", tmp_path / "data") == 0
    told = [sample for sample in load_dataset(tmp_path / "data").samples if sample.suffix]
    assert {sample.answer for sample in told} == {"trans-thalamic view"}


def test_what_cannot_be_ranked_is_told(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "q.xlsx").write_bytes(b"a round that somebody fills in")
    for arguments, said in (
        ((tmp_path / "empty", "--model", "nano"), "no image that waits"),
        ((tmp_path / "nowhere", "--model", "nano"), "neither a dataset nor a folder"),
        ((dataset, "--model", "nano", "--out", tmp_path / "q.txt"), "no list that is written"),
        ((dataset, "--model", "nano", "--out", tmp_path / "q.xlsx"), "is there already, perhaps filled in"),
        ((dataset, "--model", "nano", "--balance", "q1"), "no closed question q1"),
    ):
        done = run_residency("queue", *arguments)
        assert done.code == 2 and said in done.err
