"""Reading a workbook without openpyxl's cells must give what openpyxl's cells hold."""

from datetime import datetime, time, timedelta
from pathlib import Path
from zipfile import ZipFile

import openpyxl
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.chart import BarChart

from residency.data.book import read_book
from residency.data.ingest import ingest
from residency.data.sheet import read_sheet
from residency.types import Sample
from tests.data.make import clean_rows, make_source

ROWS = [
    ("Image", "Patient", "Q1"),
    ("a.png", 7, "liver"),
    (" b.png ", 7.5, CellRichText("li", TextBlock(InlineFont(b=True), "ver"))),
    ("ü&<é>.png", True, datetime(2026, 8, 13)),
    ("", None, "=A2"),
    ("c.png", time(8, 13), "#N/A"),
    ("line\nbreak", timedelta(hours=30), "   "),
]


def write_sheet(path: Path, hidden: str | None = None) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in ROWS:
        sheet.append(list(row))
    sheet["E9"] = "one of four"
    if hidden:
        sheet["F10"] = hidden
        sheet.merged_cells.add("E9:F10")  # `merge_cells` would delete what is hidden; other programs keep it.
    else:
        sheet.merge_cells("E9:F10")
    book.create_sheet("empty")
    book.create_chartsheet("chart").add_chart(BarChart())
    book.save(path)
    return path


def test_cells_are_those_of_openpyxl(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx")
    wanted = openpyxl.load_workbook(path)
    sheets = [
        (title, {(row, column): (value, kind) for row, column, value, kind in sheet.cells()}, sheet.merged())
        for title, sheet in read_book(path.read_bytes())
    ]
    assert [title for title, _, _ in sheets] == [sheet.title for sheet in wanted.worksheets] == ["Sheet", "empty"]
    _, cells, merged = sheets[0]
    held = {place: kept for place, kept in cells.items() if kept[0] is not None}
    expected = {
        (cell.row, cell.column): (cell.value, cell.data_type)
        for row in wanted["Sheet"].iter_rows()
        for cell in row
        if cell.value is not None
    }
    assert held == expected
    assert held[3, 3] == ("liver", "s") and held[5, 3] == ("=A2", "f") and held[6, 3] == ("#N/A", "e")
    assert [area.coord for area in merged] == ["E9:F10"]


def test_a_value_hidden_under_merged_cells_is_not_read(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", hidden="under it")
    assert b"under it" in ZipFile(path).read("xl/worksheets/sheet1.xml")
    (table,), _ = read_sheet(path)
    assert dict(table.rows)[9] == {5: "one of four"} and 10 not in dict(table.rows)
    assert [place for place, fault in table.faults.items() if fault.kind == "merged"] == [
        (9, 5), (9, 6), (10, 5), (10, 6),
    ]  # fmt: skip


def test_samples_of_one_row_are_as_if_each_were_validated(tmp_path: Path) -> None:
    sheet = make_source(
        tmp_path, [(*clean_rows()[0], "Spacing mm"), *((*row, "0.3 x 0.4") for row in clean_rows()[1:])]
    )
    ingest(sheet, tmp_path / "images", "fetal8", tmp_path / "dataset", "column:Patient")
    lines = (tmp_path / "dataset" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 36
    assert [Sample.model_validate_json(line).line() for line in lines] == lines
    assert Sample.model_validate_json(lines[0]).spacing_mm == (0.3, 0.4)
