"""Bad input: each is a clear error or a listed problem with its place; sources stay, nothing is half-written."""

import os
import resource
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
from PIL import Image

from residency.data import sheet as sheets
from residency.data.images import read_images
from residency.data.index import index_images
from residency.data.ingest import ingest
from residency.errors import CheckFailed, UserError
from residency.types import Problem
from tests.data.make import Q3, ROW, clean_rows, draw_image, make_source, write_book
from tests.data.test_ingest import hashes, run


def problems_of(folder: Path, **options: object) -> list[tuple[str, str | None]]:
    """Ingest what must fail; return the kind and cell of each problem, having checked that nothing changed."""
    before = hashes(folder)
    with pytest.raises(CheckFailed) as error:
        run(folder, **options)
    assert error.value.exit_code == 1
    assert hashes(folder) == before
    return [(problem.kind, problem.source and problem.source.cell) for problem in error.value.problems]


def edit_book(path: Path, *cells: tuple[str, object], merge: str | None = None) -> None:
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    for place, value in cells:
        sheet[place] = value
    if merge:
        sheet.merge_cells(merge)
    book.save(path)


# Images


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    make_source(tmp_path)
    images = tmp_path / "images"
    (images / "i00.png").write_bytes(b"not a picture")
    (images / "i01.png").write_bytes((images / "i02.png").read_bytes()[:600])
    (images / "i02.png").write_bytes(b"")
    (images / "i03.png").write_bytes(bomb())
    (images / "i04.png").unlink()
    (images / "i04.png").symlink_to("/etc/hostname")
    (images / "i05.png").unlink()
    (images / "i05.png").symlink_to(images / "gone.png")
    assert problems_of(tmp_path) == [
        ("unreadable-image", "A2"),
        ("unreadable-image", "A3"),
        ("unreadable-image", "A4"),
        ("decompression-bomb", "A5"),
        ("outside-link", "A6"),
        ("unreadable-image", "A7"),
    ]


def bomb(side: int = 30_000) -> bytes:
    """Return a PNG of few bytes that claims 900 million pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def test_an_unreadable_image_that_no_row_names_is_flagged_only(tmp_path: Path) -> None:
    make_source(tmp_path)
    (tmp_path / "images" / "other.png").write_bytes(b"no")
    summary = run(tmp_path)
    assert [flag.kind for flag in summary.flags] == ["unreadable-image"]
    assert "other.png" in (tmp_path / "dataset" / "audit.html").read_text()


def test_image_names_that_fit_several_files(tmp_path: Path) -> None:
    make_source(tmp_path)
    draw_image(tmp_path / "images" / "a" / "I 00.png")
    draw_image(tmp_path / "images" / "b" / "same.png")
    draw_image(tmp_path / "images" / "c" / "same.png")
    edit_book(tmp_path / "answers.xlsx", ("A2", "same.png"), ("A3", "c/same.png"), ("A4", "i00"))
    assert problems_of(tmp_path) == [("ambiguous-image", "A2"), ("ambiguous-image", "A4")]


def test_a_category_settles_equal_names(tmp_path: Path) -> None:
    for place in ("femur", "thorax"):
        draw_image(tmp_path / "images" / place / "1.png")
        draw_image(tmp_path / "images" / place / "2.png")
    rows = [("Image", "Patient", "Category", Q3)]
    rows += [(f"{n}.png", f"{c}{n}", c, ROW[1]) for c in ("femur", "thorax") for n in (1, 2)]
    write_book(tmp_path / "answers.xlsx", {"S": rows})
    assert run(tmp_path).samples == 4


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes only here")
def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    make_source(tmp_path)
    shutil.copy(tmp_path / "images" / "i00.png", os.fsencode(tmp_path / "images") + b"/\xff.png")
    assert [flag.kind for flag in run(tmp_path).flags] == ["unreadable-image"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make_source(tmp_path)
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    assert len(index_images(tmp_path / "images").paths) == 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_pictures_of_every_mode_are_read(tmp_path: Path, mode: str) -> None:
    name = "a.tif" if mode in ("CMYK", "I;16", "I", "F") else "a.png"
    Image.linear_gradient("L").convert("I" if mode == "I;16" else mode).convert(mode).save(tmp_path / name)
    images, problems = read_images(index_images(tmp_path).paths)
    assert ([image.name for image in images], problems) == ([name], [])


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder"])
def test_a_folder_without_images(tmp_path: Path, what: str) -> None:
    make_source(tmp_path)
    shutil.rmtree(tmp_path / "images")
    if what == "a file":
        (tmp_path / "images").write_text("")
    elif what == "an empty folder":
        (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="images"):
        run(tmp_path)


# Sheets


def test_formulas_errors_and_merged_cells_are_listed_with_their_cells(tmp_path: Path) -> None:
    make_source(tmp_path)
    edit_book(tmp_path / "answers.xlsx", ("A2", '="i00"&".png"'), ("F3", "=F2"), ("G4", "#N/A"), merge="E6:E7")
    assert problems_of(tmp_path) == [
        ("formula", "A2"),
        ("missing-image", "A2"),
        ("formula", "F3"),
        ("error-cell", "G4"),
        ("merged", "E6"),
        ("merged", "E7"),
    ]
    assert run(tmp_path, skip_bad=True).skipped_rows == 5


def test_a_formula_in_a_column_of_no_use_is_flagged_only(tmp_path: Path) -> None:
    make_source(tmp_path)
    edit_book(tmp_path / "answers.xlsx", ("H1", "Remark"), ("H2", "=1+1"), ("H3", "fine"))
    summary = run(tmp_path)
    assert [(flag.kind, flag.source and flag.source.cell) for flag in summary.flags] == [("formula", "H2")]


def test_duplicate_headings_and_unknown_questions_are_listed(tmp_path: Path) -> None:
    make_source(tmp_path)
    edit_book(
        tmp_path / "answers.xlsx",
        ("H1", "Q3: Imaging Plane"), ("I1", "patient id"), ("J1", "Note"), ("K1", "note "),
        ("L1", "Q9: Shoe size"), ("M1", "Q6: Gestational Age"),
    )  # fmt: skip
    assert problems_of(tmp_path) == [
        ("unknown-question", "L1"),
        ("heading-conflict", "M1"),
        ("duplicate-heading", "H1"),
        ("duplicate-heading", "I1"),
        ("duplicate-heading", "K1"),
    ]
    summary = run(tmp_path, skip_bad=True)
    assert (summary.samples, len(summary.problems)) == (36, 5)


def test_impossible_values_are_listed_and_never_guessed(tmp_path: Path) -> None:
    make_source(tmp_path)
    edit_book(
        tmp_path / "answers.xlsx",
        ("G2", "18-200 weeks"), ("G3", datetime(2026, 8, 13)), ("G4", "2026-08-13 00:00:00"), ("G5", "99 weeks"),
        ("G6", True), ("B7", datetime(2026, 8, 13)),
    )  # fmt: skip
    assert problems_of(tmp_path) == [
        ("unmapped", "G2"), ("timestamp", "G3"), ("timestamp", "G4"), ("out-of-range", "G5"), ("unmapped", "G6"),
        ("no-group", "B7"),
    ]  # fmt: skip


def test_bad_spacing_is_listed(tmp_path: Path) -> None:
    rows = [(*row, "spacing mm" if not n else "0.1") for n, row in enumerate(clean_rows())]
    for number, value in enumerate(["0", "-0.1", "wide", "55", "0.1 x 0.2 x 0.3", "0,1 x 0,2"], 1):
        rows[number] = (*rows[number][:-1], value)
    make_source(tmp_path, rows)
    assert problems_of(tmp_path) == [("bad-spacing", f"H{number}") for number in range(2, 7)]


def test_an_empty_sheet_beside_a_full_one_is_flagged_alone_it_is_an_error(tmp_path: Path) -> None:
    make_source(tmp_path)
    write_book(tmp_path / "answers.xlsx", {"Empty": [], "Annotations": clean_rows(), "Legend": [["key"], ["a"]]})
    assert [flag.kind for flag in run(tmp_path).flags] == ["empty-sheet", "sheet-left-out"]
    write_book(tmp_path / "none.xlsx", {"Empty": [], "Blank": [[None, " "]]})
    with pytest.raises(UserError, match="no rows"):
        run(tmp_path, sheet=tmp_path / "none.xlsx", out="e")
    (tmp_path / "none.csv").write_text("\n\n")
    with pytest.raises(UserError, match="no rows"):
        run(tmp_path, sheet=tmp_path / "none.csv", out="e")


def test_headings_below_a_title(tmp_path: Path) -> None:
    make_source(tmp_path)
    write_book(tmp_path / "answers.xlsx", {"S": [["Annotations of 2026"], [], *clean_rows()]})
    edit_book(tmp_path / "answers.xlsx", merge="A1:G1")
    assert run(tmp_path).samples == 36


def test_a_sheet_without_a_column_of_images(tmp_path: Path) -> None:
    make_source(tmp_path)
    write_book(tmp_path / "answers.xlsx", {"S": [("Subject", "Weight"), ("a", 1)]})
    with pytest.raises(UserError, match="no column of image names") as error:
        run(tmp_path)
    assert "Weight" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", b"plain text", "damaged"),
        ("a.xlsx", bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, "password"),
        ("a.xlsx", b"", "damaged"),
        ("a.xls", b"", "not an answer sheet"),
        ("a.ods", b"", "not an answer sheet"),
        ("a", b"", "not an answer sheet"),
        ("a.csv", b"a,b\0c\n1,2\n", "zero bytes"),
        ("a.csv", b'Image,"open\n' + b"x" * 300_000, "no text table"),
    ],
)
def test_files_that_are_no_sheets(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    make_source(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        run(tmp_path, sheet=tmp_path / name)
    assert not (tmp_path / "dataset").exists()


def test_a_truncated_workbook_and_one_without_sheets(tmp_path: Path) -> None:
    make_source(tmp_path)
    data = (tmp_path / "answers.xlsx").read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(tmp_path / "zip.xlsx", "w") as archive:
        archive.writestr("hello.txt", "hello")
    for name in ("cut.xlsx", "zip.xlsx"):
        with pytest.raises(UserError, match="damaged"):
            run(tmp_path, sheet=tmp_path / name)


def test_a_workbook_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(tmp_path)
    monkeypatch.setattr(sheets, "MAX_UNPACKED", 1000)
    with pytest.raises(UserError, match="unpacks to"):
        run(tmp_path)


def test_a_missing_sheet_and_a_folder_for_one(tmp_path: Path) -> None:
    make_source(tmp_path)
    (tmp_path / "folder.xlsx").mkdir()
    for name in ("none.xlsx", "folder.xlsx"):
        with pytest.raises(UserError, match="cannot be opened"):
            run(tmp_path, sheet=tmp_path / name)


def test_a_sheet_open_elsewhere_is_flagged(tmp_path: Path) -> None:
    make_source(tmp_path)
    (tmp_path / ".~lock.answers.xlsx#").write_text("someone")
    assert [flag.kind for flag in run(tmp_path).flags] == ["open-elsewhere"]


def test_a_far_formatted_cell_costs_nothing(tmp_path: Path) -> None:
    make_source(tmp_path)
    edit_book(tmp_path / "answers.xlsx", ("XFD1048576", " "))
    assert run(tmp_path).samples == 36


def test_markup_in_a_sheet_stays_text(tmp_path: Path) -> None:
    rows = clean_rows()
    evil = "<script>alert(1)</script>"
    rows[1] = (*rows[1][:3], evil, *rows[1][4:])
    rows[2] = (*rows[2][:4], evil, *rows[2][5:])
    make_source(tmp_path, rows)
    run(tmp_path, skip_bad=True)
    page = (tmp_path / "dataset" / "audit.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# The machine


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as a user without rights, as tests often run as one who may do all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt", reason="rights work otherwise there")
def test_a_locked_file_and_folders_without_permission(open_folder: Path) -> None:
    make_source(open_folder)
    (open_folder / "out").mkdir(mode=0o555)
    (open_folder / "images" / "closed").mkdir(mode=0o700)
    with unprivileged(), pytest.raises(UserError, match=r"cannot be (listed|made)"):
        run(open_folder, out="out/d")
    (open_folder / "images" / "closed").rmdir()
    with unprivileged(), pytest.raises(UserError, match="cannot be made"):
        run(open_folder, out="out/d")
    (open_folder / "answers.xlsx").chmod(0o000)
    with unprivileged(), pytest.raises(UserError, match="no permission"):
        run(open_folder)
    (open_folder / "answers.xlsx").chmod(0o644)
    (open_folder / "images" / "i00.png").chmod(0o000)
    (open_folder / "free").mkdir()
    (open_folder / "free").chmod(0o777)
    with unprivileged(), pytest.raises(CheckFailed, match="Permission denied"):
        run(open_folder, out="free/d")
    assert list((open_folder / "free").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
def test_no_space_left_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: writing fails midway."""
    make_source(tmp_path)
    before = hashes(tmp_path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, old[1]))
    try:
        with pytest.raises(UserError, match="cannot be written") as error:
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert error.value.exit_code == 1
    assert hashes(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.xlsx", "images"]


def test_the_dataset_may_not_lie_among_the_images(tmp_path: Path) -> None:
    make_source(tmp_path)
    with pytest.raises(UserError, match="within the images' folder"):
        run(tmp_path, out="images/dataset")


def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(tmp_path)
    from residency.data import ingest as module

    whole = module.make_splits

    def change(*args: object, **options: object) -> object:
        draw_image(tmp_path / "images" / "i03.png", seed=77)
        return whole(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "make_splits", change)
    with pytest.raises(CheckFailed, match=r"sources-unchanged[\s\S]*i03\.png"):
        run(tmp_path)
    assert not (tmp_path / "dataset").exists()


def test_an_unknown_questionnaire_says_which_there_are(tmp_path: Path) -> None:
    make_source(tmp_path)
    with pytest.raises(UserError, match="fetal8"):
        ingest(tmp_path / "answers.xlsx", tmp_path / "images", "fetal9", tmp_path / "d", "image")


def test_problems_say_where_and_what() -> None:
    shown = str(Problem(kind="unmapped", message="`x` maps to no answer", candidates=("liver",)))
    assert shown == "`x` maps to no answer (nearest: liver) [unmapped]"
