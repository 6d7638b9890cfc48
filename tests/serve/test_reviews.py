"""From upload to corrected export with the installed commands: what reviewers said comes back from ingest as it was."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from residency.data.dataset import load_dataset
from tests.run_command import call_residency, run_residency
from tests.serve.server import Server, draw_study, serving

EDITS = {
    "q4": "femur length 32.4 mm, head circumference 212.56 mm",
    "q5": "20-25 weeks (22 weeks 3 days)",
    "q6": "medium image quality (shadowing, low gain)",
}


AUTHORS = ("Dr. Li", "Dr. Wu")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of their own: what is exported and counted here are these tests' reviews alone."""
    with serving(tmp_path_factory.mktemp("reviewed"), "--most-mb", 8) as running:
        yield running


@pytest.fixture(scope="module")
def reviewed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Four pictures of three patients, each reviewed by two; the store (its server still runs), and the cases."""
    folder = tmp_path_factory.mktemp("reviewed")
    cases = [
        server.interpret(draw_study(folder / f"{n}.png", 10 + n), group=f"Jane Roe {min(n, 2)}", spacing_mm="0.2 0.25")
        for n in range(4)
    ]
    for number, case in enumerate(cases):
        for author in AUTHORS:
            answers = [
                {"question": told["question"], "verdict": "edit", "text": EDITS[told["question"]]}
                if told["question"] in EDITS and author == "Dr. Li"
                else {"question": told["question"], "verdict": "reject" if told["question"] == "q8" else "accept"}
                for told in case["answers"]
            ]
            sent = server.review(case["case"], author=author, rating=3 + number % 2, seconds=20, answers=answers)
            assert sent.status_code == 201, sent.text
    kept = [server.client.get(f"/v1/cases/{case['case']}").json() for case in cases]
    assert server.client.get("/v1/reviews/summary").json()["reviewed_cases"] >= 4
    sheet = server.client.get("/v1/reviews/sheet")
    assert sheet.status_code == 200
    (folder / "downloaded.xlsx").write_bytes(sheet.content)
    assert call_residency("reviews", "export", "--store", server.store, "--out", folder / "told.xlsx") == 0
    books = [openpyxl.load_workbook(folder / name).active for name in ("downloaded.xlsx", "told.xlsx")]
    cells = [[[cell.value for cell in row] for row in book.rows] for book in books if book]
    assert cells[0] == cells[1]
    return server.store, kept


def test_the_export_goes_back_through_ingest_the_same(
    reviewed: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    store, kept = reviewed
    done = run_residency("reviews", "export", "--store", store, "--out", tmp_path / "answers.xlsx")
    assert done.code == 0, done.err
    command = done.out.split("next: residency ")[1].split()
    command[command.index("--out") + 1] = str(tmp_path / "corrected")
    assert call_residency(*command) == 0
    dataset = load_dataset(tmp_path / "corrected")
    got = {
        (Path(s.image).stem, s.annotator, s.question): s.model_dump(mode="json", include={"answer", "parts", "suffix"})
        for s in dataset.samples
        if s.annotator in AUTHORS
    }
    wanted = {
        (case["case"]["image_sha256"], word["author"], word["question"]): {
            "suffix": word["text"], "answer": word["answer"], "parts": word["parts"]
        }
        for case in kept
        for word in case["reviews"]
        if word["text"] is not None
    }  # fmt: skip
    assert len(wanted) == 4 * 2 * 7
    assert got == wanted
    own = [sample for sample in dataset.samples if sample.annotator in AUTHORS]
    assert {sample.spacing_mm for sample in own} == {(0.2, 0.25)}
    assert len({sample.group for sample in own}) == 3
    assert not any("Jane" in path.read_text(errors="replace") for path in store.parent.rglob("*") if path.is_file())


def test_label_studio_gets_both_answers(reviewed: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    store, _ = reviewed
    out = tmp_path / "tasks.json"
    assert call_residency("reviews", "export", "--store", store, "--out", out) == 0
    tasks = json.loads(out.read_text())
    twice = [task for task in tasks if len(task["annotations"]) == 2]
    assert len(twice) == 4
    assert [one["completed_by"]["email"] for one in twice[0]["annotations"]] == list(AUTHORS)
    assert {task["predictions"][0]["model_version"] for task in tasks} == {"nano"}
    images = store / "images"
    back = ["--format", "label-studio", "--images", images, "--group-by", "image", "--out", tmp_path / "back"]
    assert call_residency("ingest", "--sheet", out, "--questionnaire", store / "questionnaire.yaml", *back) == 0
    samples = load_dataset(tmp_path / "back").samples
    assert {s.suffix for s in samples if s.question == "q6" and s.annotator == "Dr. Li"} == {EDITS["q6"]}


def test_show_tells_agreement_ratings_and_time(reviewed: tuple[Path, list[dict[str, Any]]]) -> None:
    store, _ = reviewed
    done = run_residency("reviews", "show", "--store", store)
    assert done.code == 0, done.err
    assert "cases reviewed by 2 reviewer(s)" in done.out
    assert "rating 3.50 of 5" in done.out
    found = json.loads(run_residency("reviews", "show", "--store", store, "--json").out)
    by_id = {one["question"]: one for one in found["questions"]}
    assert by_id["q3"]["same"] == 1.0 and by_id["q3"]["accept"] == 8
    assert by_id["q6"]["same"] == 0.0 and by_id["q6"]["kappa"]["n"] == 4
    assert by_id["q8"]["reject"] == 8
    assert found["review_seconds"] == [20.0, 20.0]


def test_reviews_are_checked_and_told_why(server: Server, pictures: list[Path]) -> None:
    case = server.interpret(pictures[0])["case"]
    wrong = server.review(case, answers=[{"question": "q6", "verdict": "edit", "text": "goood qualty image of sorts"}])
    assert wrong.status_code == 422 and "q6" in wrong.json()["error"]["reason"]
    both = server.review(
        case,
        answers=[
            {"question": "q7", "verdict": "accept"},
            {"question": "q99", "verdict": "accept"},
        ],
    )
    assert both.status_code == 422
    assert server.client.get("/v1/reviews", params={"case": case}).json() == {"reviews": []}
    assert server.review("0" * 16, rating=3).status_code == 404
    assert server.review(case).status_code == 422
    assert server.review(case, rating=6).status_code == 422


def test_the_last_word_of_an_author_holds_and_both_stay(server: Server, pictures: list[Path], tmp_path: Path) -> None:
    case = server.interpret(pictures[1])
    for text in ("good image quality", "low image quality"):
        edit = [{"question": "q6", "verdict": "edit", "text": text}]
        assert server.review(case["case"], author="A", answers=edit).status_code == 201
    kept = server.client.get("/v1/reviews", params={"case": case["case"]}).json()["reviews"]
    assert [word["text"] for word in kept] == ["good image quality", "low image quality"]
    sheet = server.client.get("/v1/reviews/sheet").content
    (tmp_path / "now.xlsx").write_bytes(sheet)
    rows = list(openpyxl.load_workbook(tmp_path / "now.xlsx").active.values)  # type: ignore[union-attr]
    place = next(n for n, head in enumerate(rows[0]) if str(head).startswith("Q6"))
    assert {row[place] for row in rows if row[0] == f"{case['image_sha256']}.png"} == {"low image quality"}


def test_formulas_and_scripts_stay_text(server: Server, pictures: list[Path], tmp_path: Path) -> None:
    case = server.interpret(pictures[2])
    text = '=HYPERLINK("http://evil","<script>alert(1)</script>\'; DROP TABLE reviews;--")'
    said = server.review(case["case"], author="F", answers=[{"question": "q8", "verdict": "edit", "text": text}])
    assert said.status_code == 201, said.text
    (tmp_path / "now.xlsx").write_bytes(server.client.get("/v1/reviews/sheet").content)
    sheet = openpyxl.load_workbook(tmp_path / "now.xlsx").active
    assert sheet is not None
    kinds = {cell.data_type for row in sheet.rows for cell in row if str(cell.value).startswith("=")}
    assert kinds == {"s"}


def test_a_store_of_another_questionnaire_is_refused(
    reviewed: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    store, _ = reviewed
    other = tmp_path / "other.yaml"
    other.write_text((store / "questionnaire.yaml").read_text().replace("name: fetal8", "name: fetal9"))
    done = run_residency("serve", "--model", "nano", "--questionnaire", other, "--store", store, "--port", 0)
    assert done.code == 2
    assert "holds reviews of another questionnaire" in done.err


def test_reviews_of_nothing_are_told(tmp_path: Path) -> None:
    done = run_residency("reviews", "show", "--store", tmp_path / "none")
    assert done.code == 2 and "holds no reviews" in done.err
