import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from PIL import Image, ImageEnhance

from residency.data.audit import audit_dataset
from residency.data.dataset import load_dataset, write_dataset
from residency.data.frame import Change
from residency.data.images import read_images
from residency.data.index import index_images
from residency.data.ingest import IngestSummary, ingest
from residency.errors import CheckFailed, UserError
from residency.files import read_lines
from residency.types import Fold, Quantity
from tests.data.make import Q1, Q3, ROW, clean_rows, draw_image, make_source, write_book

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not on this machine")


def run(folder: Path, sheet: Path | None = None, **options: object) -> IngestSummary:
    sheet = sheet or folder / "answers.xlsx"
    group_by = str(options.pop("group_by", "column:Patient"))
    out = folder / str(options.pop("out", "dataset"))
    return ingest(sheet, folder / "images", "fetal8", out, group_by, **options)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_clean_sheet_becomes_a_dataset_and_its_sources_stay(tmp_path: Path) -> None:
    make_source(tmp_path)
    before = hashes(tmp_path)
    summary = run(tmp_path)
    assert {path: digest for path, digest in hashes(tmp_path).items() if "dataset" not in path} == before
    assert (summary.samples, summary.images, summary.groups, summary.changes) == (36, 12, 6, 0)
    dataset = load_dataset(tmp_path / "dataset")
    first = dataset.samples[0]
    assert dataset.image_path(first).read_bytes() == (tmp_path / "images" / "i00.png").read_bytes()
    assert (first.id, first.suffix, first.answer) == ("i00.png:q1:A", ROW[0], ("liver", "stomach"))
    assert (first.group, first.category, first.annotator) == ("P0", "abdomen", "A")
    assert first.source is not None
    assert (first.source.sheet, first.source.cell) == ("Annotations", "E2")
    assert dataset.splits is not None
    assert sorted(g for name in ("train", "val", "test") for g in getattr(dataset.splits.folds[0], name)) == [
        f"P{number}" for number in range(6)
    ]
    assert {path.name for path in summary.written} == {
        "samples.jsonl", "questionnaire.yaml", "splits.json", "audit.json", "audit.html", "normalization.jsonl",
    }  # fmt: skip
    assert "not for diagnosis" in (tmp_path / "dataset" / "audit.html").read_text().lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.xlsx", "dataset", "images"]


def test_the_same_sources_give_the_same_dataset(tmp_path: Path) -> None:
    make_source(tmp_path)
    run(tmp_path, out="one")
    run(tmp_path, out="two")
    for name in ("samples.jsonl", "splits.json", "normalization.jsonl", "questionnaire.yaml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_images_and_columns_are_matched_leniently(tmp_path: Path) -> None:
    for name in ("a/IMG 01.PNG", "a/img_02.png", "b/img_02.png", "b/three.jpeg", "c/Four.png"):
        draw_image(tmp_path / "images" / name)
    headings = (" FILE name", "patient ID", "Q3: Imaging Plane", "Gestational Age Estimation", "Machine", "remark")
    rows = [
        headings,
        ("img_01", 7, "trans-thalamic view", "20-25 weeks", "GE", "fine"),
        ("A\\IMG_02.PNG", 7.0, "trans-thalamic view", None, "GE", None),
        ("images/b/img_02.png", "8", "para-sagittal", None, "GE", None),
        ("Three.JPG", "9", "para-sagittal", "14 weeks", "GE", None),
        ("four", "10", "para-sagittal", "14 weeks", "GE", None),
    ]
    write_book(tmp_path / "answers.xlsx", {"Sheet1": rows})
    summary = run(tmp_path)
    samples = load_dataset(tmp_path / "dataset").samples
    found = {sample.image.partition("images/")[2]: sample.group for sample in samples}
    assert found == {
        "a/IMG 01.PNG": "7", "a/img_02.png": "7", "b/img_02.png": "8", "b/three.jpeg": "9", "c/Four.png": "10",
    }  # fmt: skip
    assert samples[0].columns == {"remark": "fine"}
    assert samples[0].attributes == {"patient": "7", "machine": "GE"}
    assert [column.rpartition("-> ")[2] for column in summary.columns] == [
        "image", "patient", "q3", "q5", "machine", "kept",
    ]  # fmt: skip


def test_a_column_of_image_names_under_another_heading(tmp_path: Path) -> None:
    rows = [("Scan" if not n else row[0], *row[1:]) for n, row in enumerate(clean_rows())]
    make_source(tmp_path, rows)
    assert "A `Scan` -> image" in run(tmp_path).columns[0]


def test_category_comes_from_column_sheet_or_folder(tmp_path: Path) -> None:
    for name in ("femur/f.png", "other/x.png", "other/y.png"):
        draw_image(tmp_path / "images" / name)
    head = ("Image", "Patient", "Category", Q3)
    write_book(
        tmp_path / "answers.xlsx",
        {
            "Thorax": [head, ("x.png", "1", None, ROW[1]), ("y.png", "2", "standard_NT", ROW[1])],
            "Rest": [head, ("f.png", "3", None, ROW[1])],
        },
    )
    run(tmp_path)
    samples = load_dataset(tmp_path / "dataset").samples
    assert [sample.category for sample in samples] == ["thorax", "standard NT", "femur"]


def test_every_changed_cell_can_be_put_back(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[1] = (*rows[1][:4], "Stomach , LIVER.", "transverse abdominal plane", "20 to 25 weks")
    make_source(tmp_path, rows)
    run(tmp_path)
    changes = read_lines(tmp_path / "dataset" / "normalization.jsonl", Change)
    assert [(str(change.source.cell), change.before, change.after, change.deepest) for change in changes] == [
        ("E2", "Stomach , LIVER.", "liver, stomach", "space"),
        ("F2", "transverse abdominal plane", "transverse trans-abdominal plane", "vocabulary"),
        ("G2", "20 to 25 weks", "20-25 weeks", "spelling"),
    ]
    sheet = openpyxl.load_workbook(tmp_path / "answers.xlsx")["Annotations"]
    assert [sheet[change.source.cell].value for change in changes] == [change.before for change in changes]


def test_layers_can_be_left_out(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[1] = (*rows[1][:4], "livr", *rows[1][5:])
    make_source(tmp_path, rows)
    with pytest.raises(CheckFailed, match=r"E2.*maps to no answer.*liver"):
        run(tmp_path, layers=("space", "vocabulary"))
    assert run(tmp_path).changes == 1


def test_all_bad_rows_are_listed_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[1] = (*rows[1][:6], "18-200 weeks")
    rows[2] = (None, *rows[2][1:])
    rows[3] = ("nowhere.png", *rows[3][1:])
    rows[4] = (rows[4][0], None, *rows[4][2:])
    rows[5] = (*rows[5][:2], "spleen", *rows[5][3:])
    rows[6] = (*rows[6][:4], "liver, flux capacitor", *rows[6][5:])
    make_source(tmp_path, rows)
    with pytest.raises(CheckFailed) as error:
        run(tmp_path)
    assert error.value.exit_code == 1
    assert [(problem.kind, problem.source and problem.source.cell) for problem in error.value.problems] == [
        ("unmapped", "G2"),
        ("no-image", "A3"),
        ("missing-image", "A4"),
        ("no-group", "B5"),
        ("unknown-category", "C6"),
        ("unmapped", "E7"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.xlsx", "images"]
    summary = run(tmp_path, skip_bad=True)
    assert (summary.skipped_rows, len(summary.problems), summary.annotated_images) == (6, 6, 6)
    page = (tmp_path / "dataset" / "audit.html").read_text()
    assert "18-200 weeks" in page
    assert "flux capacitor" in page


def test_unanswered_rows_and_unnamed_images_are_kept_as_unannotated(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[12] = (*rows[12][:4], None, " ", None)
    make_source(tmp_path, rows)
    draw_image(tmp_path / "images" / "femur" / "new.png")
    summary = run(tmp_path)
    dataset = load_dataset(tmp_path / "dataset")
    bare = {sample.id: sample for sample in dataset.samples if sample.suffix is None}
    assert set(bare) == {"i11.png", "femur/new.png"}
    assert bare["i11.png"].group == "P5"
    assert bare["femur/new.png"].category == "femur"
    assert dataset.splits is not None
    assert "femur/new.png" in dataset.splits.folds[0].train
    assert "unknown-group" in {flag.kind for flag in summary.flags}
    audit = audit_dataset(tmp_path / "dataset")
    assert [suggestion.image.rpartition("/")[2] for suggestion in audit.annotate_next] == ["new.png", "i11.png"]


def test_one_image_twice(tmp_path: Path) -> None:
    rows = clean_rows()
    rows.append(rows[1])
    rows.append((*rows[2][:3], "B", "spleen", *rows[2][5:]))
    make_source(tmp_path, rows)
    summary = run(tmp_path)
    kinds = [flag.kind for flag in summary.flags]
    assert kinds.count("repeated-row") == 3
    assert kinds.count("two-annotators") == 3
    assert summary.samples == 39

    rows.append((*rows[1][:4], "spleen", *rows[1][5:]))
    make_source(tmp_path, rows)
    with pytest.raises(CheckFailed, match=r"E16: i00.png: `spleen` here, `liver, stomach` in .* E2"):
        run(tmp_path, out="again")


def test_one_image_of_two_patients_is_a_problem(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[1] = (*rows[1][:5], None, None)
    rows.append((rows[1][0], "P5", *rows[1][2:4], None, *ROW[1:]))
    make_source(tmp_path, rows)
    with pytest.raises(CheckFailed, match="conflicting-group"):
        run(tmp_path)


# Groups and splits


@pytest.mark.parametrize("group_by", ["", "patient", "column:", "pattern:", "pattern:(", "image:x"])
def test_a_grouping_is_required(tmp_path: Path, group_by: str) -> None:
    make_source(tmp_path)
    with pytest.raises(UserError):
        run(tmp_path, group_by=group_by)


def test_an_unknown_group_column_names_those_there_are(tmp_path: Path) -> None:
    make_source(tmp_path)
    with pytest.raises(UserError, match="no column Mother") as error:
        run(tmp_path, group_by="column:Mother")
    assert "Patient" in str(error.value)


def test_grouping_by_image_accepts_the_risk_by_name(tmp_path: Path) -> None:
    make_source(tmp_path)
    summary = run(tmp_path, group_by="image")
    assert summary.groups == 12
    assert any("accepted by name" in warning for warning in summary.warnings)
    with pytest.raises(CheckFailed, match="leak-patient"):
        audit_dataset(tmp_path / "dataset")


def test_near_duplicates_join_one_group_before_the_split(tmp_path: Path) -> None:
    make_source(tmp_path)
    original = Image.open(tmp_path / "images" / "i00.png")
    ImageEnhance.Brightness(original.resize((60, 60))).enhance(1.1).save(tmp_path / "images" / "i07.png")
    (tmp_path / "images" / "i11.png").write_bytes((tmp_path / "images" / "i05.png").read_bytes())
    run(tmp_path)
    dataset = load_dataset(tmp_path / "dataset")
    group = {sample.image.rpartition("/")[2]: sample.group for sample in dataset.samples}
    assert group["i00.png"] == group["i07.png"] == group["i01.png"] == "P0 + P3"
    assert group["i05.png"] == group["i11.png"] == "P2 + P5"
    audit = audit_dataset(tmp_path / "dataset")
    assert [(twin.same, twin.first.rpartition("/")[2], twin.second.rpartition("/")[2]) for twin in audit.twins] == [
        (False, "i00.png", "i07.png"),
        (True, "i05.png", "i11.png"),
    ]


def test_the_audit_fails_on_every_overlap(tmp_path: Path) -> None:
    make_source(tmp_path)
    for number in (3, 8):
        (tmp_path / "images" / f"i{number:02d}.png").write_bytes((tmp_path / "images" / "i00.png").read_bytes())
    run(tmp_path)
    dataset = load_dataset(tmp_path / "dataset")
    torn = [
        sample.model_copy(update={"group": sample.image.rpartition("/")[2]}) if "i0" in sample.image else sample
        for sample in dataset.samples
    ]
    groups = sorted({sample.group for sample in torn})
    fold = Fold(train=(*groups[::2], groups[1]), val=(), test=tuple(groups[1::2]))
    assert dataset.splits is not None
    splits = dataset.splits.model_copy(update={"folds": (fold,)})
    write_dataset(type(dataset)(dataset.folder, tuple(torn), dataset.questionnaire, splits))
    with pytest.raises(CheckFailed) as error:
        audit_dataset(tmp_path / "dataset")
    assert {problem.kind for problem in error.value.problems} == {
        "leak-group", "leak-patient", "leak-image", "leak-file", "leak-near-duplicate",
    }  # fmt: skip
    assert "Leak." in (tmp_path / "dataset" / "audit.html").read_text()


def test_the_audit_sees_changed_and_missing_images(tmp_path: Path) -> None:
    make_source(tmp_path)
    run(tmp_path)
    draw_image(tmp_path / "images" / "i00.png", seed=99)
    (tmp_path / "images" / "i01.png").unlink()
    audit = audit_dataset(tmp_path / "dataset")
    assert [(p.kind, p.source and p.source.file[-7:]) for p in audit.unreadable] == [
        ("unreadable-image", "i01.png"),
        ("changed-image", "i00.png"),
    ]


def test_an_older_dataset_is_replaced_only_when_asked(tmp_path: Path) -> None:
    make_source(tmp_path)
    run(tmp_path)
    with pytest.raises(UserError, match="--replace"):
        run(tmp_path)
    run(tmp_path, replace_old=True, folds=3)
    splits = load_dataset(tmp_path / "dataset").splits
    assert splits is not None
    assert len(splits.folds) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        run(tmp_path, out="mine", replace_old=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


# Text tables


@pytest.mark.parametrize(
    ("name", "delimiter", "encoding"),
    [("a.csv", ",", "utf-8"), ("a.csv", ";", "cp1252"), ("a.tsv", "\t", "utf-8-sig"), ("a.csv", ",", "utf-16")],
)
def test_text_tables_of_any_delimiter_and_encoding(tmp_path: Path, name: str, delimiter: str, encoding: str) -> None:
    make_source(tmp_path)
    rows = clean_rows()
    rows[1] = (rows[1][0], "Müller", *rows[1][2:])
    with (tmp_path / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    run(tmp_path, sheet=tmp_path / name)
    samples = load_dataset(tmp_path / "dataset").samples
    assert (len(samples), samples[0].group) == (36, "Müller")
    assert samples[0].source is not None
    assert samples[0].source.cell == "E2"


def test_numbers_spacing_and_units_from_headings(tmp_path: Path) -> None:
    make_source(tmp_path)
    lines = ["filename;pixel size(mm);Head circumference (cm)"]
    lines += [f"i{number:02d}.png;0,0{number + 51};17,{number}" for number in range(12)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (tmp_path / "q.yaml").write_text(
        "name: head\nquestions:\n- {id: hc, type: number, unit: mm, wording: 'Head circumference?', "
        "minimum: 30, maximum: 400, headings: [head circumference (mm)]}\n"
    )
    ingest(tmp_path / "a.csv", tmp_path / "images", str(tmp_path / "q.yaml"), tmp_path / "d", "image")
    samples = load_dataset(tmp_path / "d").samples
    assert samples[0].answer == Quantity(value=170, unit="mm")
    assert samples[0].spacing_mm == (0.051, 0.051)
    assert samples[0].columns == {"pixel size(mm)": "0,051"}


# Drafts


def test_without_a_questionnaire_a_draft_is_written_and_can_be_used(tmp_path: Path) -> None:
    make_source(tmp_path)
    rows: list[tuple[object, ...]] = [("Image", "Patient", "Quality", "Lesions", "Size (mm)", "Weeks", "Side", "Notes")]
    for number in range(12):
        rows.append(
            (
                f"i{number:02d}.png",
                f"P{number}",
                ("good", "Low", "medium")[number % 3],
                ("cyst, mass", "mass; cyst ", "cyst, nodule", "nodule, mass")[number % 4],
                f"{number + 3.5} mm",
                ("8-13 weeks", "15-20 weeks")[number % 2],
                ("left", "right", "Left ")[number % 3],
                f"free text {number} {'x' * number}",
            )
        )
    write_book(tmp_path / "answers.xlsx", {"S": rows})
    with pytest.raises(UserError, match="draft") as error:
        ingest(tmp_path / "answers.xlsx", tmp_path / "images", None, tmp_path / "d", "column:Patient")
    assert error.value.exit_code == 1
    draft = tmp_path / "d.questionnaire.yaml"
    assert str(draft) in str(error.value)
    summary = ingest(tmp_path / "answers.xlsx", tmp_path / "images", str(draft), tmp_path / "d", "column:Patient")
    asked = load_dataset(tmp_path / "d").questionnaire
    assert asked is not None
    assert {question.id: question.type for question in asked.questions} == {
        "quality": "ordinal",
        "lesions": "set",
        "size": "number",
        "weeks": "ordinal",
        "side": "choice",
        "notes": "text",
    }
    assert asked.question("quality").names == ("Low", "medium", "good")
    assert summary.samples == 72
    draft.write_text(draft.read_text() + "# mine\n")
    with pytest.raises(UserError, match="there already"):
        ingest(tmp_path / "answers.xlsx", tmp_path / "images", None, tmp_path / "d", "image", replace_old=True)
    assert draft.read_text().endswith("# mine\n")


# Lines and report folders


def write_lines_of(path: Path, lines: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_plain_lines_are_a_source(tmp_path: Path) -> None:
    make_source(tmp_path)
    lines: list[dict[str, object]] = [
        {"image": f"i{n:02d}.png", "prefix": "How many?", "suffix": n, "patient": n // 2, "view": "AP"}
        for n in range(12)
    ]
    lines.append({"image": "i00.png", "prefix": "<od>", "suffix": "lung<loc_0><loc_0><loc_499><loc_999>", "patient": 0})
    lines.append({"image": "i01.png", "prefix": "<CAPTION>", "suffix": None, "patient": 0})
    write_lines_of(tmp_path / "a.jsonl", lines)
    ingest(tmp_path / "a.jsonl", tmp_path / "images", None, tmp_path / "d", "column:patient")
    dataset = load_dataset(tmp_path / "d")
    assert [sample.suffix for sample in dataset.samples[:3]] == ["0", "1", "2"]
    assert dataset.samples[0].columns == {"view": "AP"}
    (box,) = next(sample for sample in dataset.samples if sample.question == "od").boxes
    assert box.label == "lung"
    assert box.xyxy == pytest.approx((0.048, 0.048, 47.952, 95.952))
    assert dataset.questionnaire is not None
    assert {question.id for question in dataset.questionnaire.questions} == {"how-many", "od", "caption"}


def test_an_image_may_have_several_captions_but_not_the_same_twice(tmp_path: Path) -> None:
    make_source(tmp_path)
    lines: list[dict[str, object]] = [
        {"image": f"i{n:02d}.png", "prefix": "<CAPTION>", "suffix": text} for n in range(12) for text in ("a", "b", "b")
    ]
    write_lines_of(tmp_path / "a.jsonl", lines)
    summary = ingest(tmp_path / "a.jsonl", tmp_path / "images", None, tmp_path / "d", "image")
    assert (summary.samples, {flag.kind for flag in summary.flags}) == (24, {"repeated-row"})
    samples = load_dataset(tmp_path / "d").samples
    assert len({sample.id for sample in samples}) == 24


def test_lines_that_answer_a_questionnaire(tmp_path: Path) -> None:
    make_source(tmp_path)
    asked = Q1.partition("\n")[2]
    lines: list[dict[str, object]] = [
        {"image": f"i{n:02d}.png", "prefix": asked, "suffix": "Stomach, livr", "category": "thorax", "patient": n}
        for n in range(12)
    ]
    write_lines_of(tmp_path / "a.jsonl", lines)
    ingest(tmp_path / "a.jsonl", tmp_path / "images", "fetal8", tmp_path / "d", "column:patient")
    first = load_dataset(tmp_path / "d").samples[0]
    assert (first.question, first.suffix, first.category) == ("q1", "liver, stomach", "thorax")
    write_lines_of(tmp_path / "a.jsonl", [lines[0] | {"prefix": "Shoe size?"}, lines[1] | {"category": "shoe"}])
    with pytest.raises(CheckFailed) as error:
        ingest(tmp_path / "a.jsonl", tmp_path / "images", "fetal8", tmp_path / "e", "column:patient")
    assert [problem.kind for problem in error.value.problems] == ["unknown-question", "unknown-category"]


def test_bad_lines_are_listed(tmp_path: Path) -> None:
    make_source(tmp_path)
    text = '{"image": "i00.png", "prefix": "a", "suffix": "b"}\n{oh\n[1]\n{"image": "i01.png"}\n'
    (tmp_path / "a.jsonl").write_text(text + '{"image": "no.png", "prefix": "a", "suffix": "b"}\n')
    with pytest.raises(CheckFailed) as error:
        ingest(tmp_path / "a.jsonl", tmp_path / "images", None, tmp_path / "d", "image")
    assert [(p.kind, p.source and p.source.cell) for p in error.value.problems] == [
        ("bad-line", "line 2"),
        ("bad-line", "line 3"),
        ("bad-line", "line 4"),
        ("missing-image", "line 5"),
    ]


NAMINGS: list[Callable[[str, str], str]] = [
    lambda split, task: f"{split}{task}.jsonl",
    lambda split, task: f"{task.lstrip('_')}{'_' if task else ''}{split}.jsonl",
    lambda split, task: f"annotations/{split.upper()}{task}.jsonl",
]


def make_reports(folder: Path, naming: Callable[[str, str], str], parts: dict[str, range]) -> None:
    make_source(folder)
    (folder / "answers.xlsx").unlink()
    for split, numbers in parts.items():
        for task, prefix in (("", "<CAPTION>"), ("_detailed_caption", "<DETAILED_CAPTION>")):
            lines: list[dict[str, object]] = [
                {"image": f"i{n:02d}.png", "prefix": prefix, "suffix": f"report {n}"} for n in numbers
            ]
            write_lines_of(folder / naming(split, task), lines)


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_report_folder_keeps_its_split(tmp_path: Path, naming: Callable[[str, str], str]) -> None:
    make_reports(tmp_path / "r", naming, {"train": range(6), "val": range(6, 8), "test": range(8, 12)})
    ingest(None, tmp_path / "r", None, tmp_path / "d", r"pattern:^i(\d+)")
    dataset = load_dataset(tmp_path / "d")
    assert dataset.splits is not None
    fold = dataset.splits.folds[0]
    assert (dataset.splits.method, fold.val, len(fold.train), len(fold.test)) == ("as given", ("06", "07"), 6, 4)
    asked = sorted(str(sample.question) for sample in dataset.split("val"))
    assert asked == ["caption", "caption", "detailed_caption", "detailed_caption"]
    audit_dataset(tmp_path / "d")


def test_a_report_folder_s_leaking_split_is_refused(tmp_path: Path) -> None:
    make_reports(tmp_path / "r", NAMINGS[0], {"train": range(7), "val": range(6, 8), "test": range(8, 12)})
    with pytest.raises(CheckFailed, match=r"i06\.png") as error:
        ingest(None, tmp_path / "r", None, tmp_path / "d", "image")
    assert (error.value.check, len(error.value.problems)) == ("split-leak", 1)
    assert not (tmp_path / "d").exists()
    ingest(None, tmp_path / "r", None, tmp_path / "d", "image", resplit=True)
    audit_dataset(tmp_path / "d")


# Real data


@needs_shared
def test_the_real_answer_sheet(tmp_path: Path) -> None:
    source = SHARED / "fetal_planes"
    before = hashes(source)
    summary = ingest(
        source / "answers.xlsx", source / "images", "fetal8", tmp_path / "d", "column:Patient", folds=5
    )  # fmt: skip
    assert (summary.samples, summary.groups, summary.flags) == (120, 10, ())
    splits = load_dataset(tmp_path / "d").splits
    assert splits is not None
    assert sorted(group for fold in splits.folds for group in fold.test) == sorted(
        {group for fold in splits.folds for group in fold.train}
    )
    audit_dataset(tmp_path / "d")
    assert hashes(source) == before


@needs_shared
def test_real_head_circumferences_as_a_number(tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text(
        "name: head\nquestions:\n- {id: hc, type: number, unit: mm, wording: 'What is the head circumference?', "
        "minimum: 20, maximum: 420, headings: [head circumference (mm)]}\n"
    )
    source = SHARED / "fetal_head"
    summary = ingest(
        source / "head_circumference.csv", source / "image", str(tmp_path / "q.yaml"), tmp_path / "d",
        r"pattern:^(\d+)", folds=5,
    )  # fmt: skip
    samples = load_dataset(tmp_path / "d").samples
    assert summary.samples == len(samples) == 150
    assert all(sample.spacing_mm and sample.columns["pixel size(mm)"] for sample in samples)
    group = {sample.image.rpartition("/")[2]: sample.group for sample in samples}
    assert group["014_2HC.png"] == group["014_3HC.png"] == group["014_HC.png"] == "014"
    audit = audit_dataset(tmp_path / "d")
    assert any(twin.same and "392" in twin.first for twin in audit.twins)


@needs_shared
def test_real_chest_x_rays_as_a_report_folder(tmp_path: Path) -> None:
    from benchmarks.chest_xray_reports import write_reports

    source = SHARED / "chest_xray"
    counts = write_reports(source, tmp_path / "r")
    summary = ingest(None, tmp_path / "r", None, tmp_path / "d", "column:patient")
    dataset = load_dataset(tmp_path / "d")
    assert (summary.images, summary.samples) == (48, 3 * 48)
    assert dataset.splits is not None
    assert dataset.splits.method == "as given"
    for split in ("train", "val", "test"):
        assert len({sample.image for sample in dataset.split(split)}) == counts[split]  # type: ignore[arg-type]
    original = {item["image"]: item for item in json.loads((source / "manifest.json").read_text())}
    for sample in dataset.samples:
        if sample.question == "od":
            item = original[sample.image.rpartition("/")[2]]
            size = item["size"][0] * item["scale"]
            for box, given in zip(sample.boxes, item["boxes"], strict=True):
                x, y, w, h = (value * item["scale"] for value in given["bbox"])
                assert box.label == given["category"]
                assert box.xyxy == pytest.approx((x, y, x + w, y + h), abs=1 + size / 1000)
    audit_dataset(tmp_path / "d")


@needs_shared
def test_real_images_of_every_make_are_decoded() -> None:
    images, problems = read_images(index_images(SHARED / "vqa_rad" / "images").paths)
    assert (len(images), problems) == (315, [])
