"""An answer sheet in (Excel, CSV, TSV), tables out: headings and values by cell, and every cell that cannot be used.

The file is opened read-only and read into memory at once; nothing of it is ever written.
"""

import csv
import io
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from residency.errors import UserError
from residency.types import Problem, Source

if TYPE_CHECKING:
    from residency.data.book import BookSheet

Value = str | int | float | bool | datetime | date | time | timedelta
BOOKS = (".xlsx", ".xlsm")
TEXTS = (".csv", ".tsv", ".txt")
MAX_UNPACKED = 1 << 30
"""Bytes a workbook may unpack to; more is taken for a zip bomb."""
_KINDS = (str, int, float, datetime, date, time, timedelta)
_IMAGE = re.compile(r"\W*(image|file|img)[\s_\-]*(name|id|path|file)?\W*", re.I)
_HEADING_ROWS = 10
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")


@dataclass(frozen=True)
class Table:
    """One sheet: `headings` by column (1 is A), `rows` as (row number, value by column), empty cells left out.

    `faults` holds the cells below the headings that carry no plain value (formula, error, merged), by (row, column).
    """

    file: str
    sheet: str | None
    heading_row: int
    headings: dict[int, str]
    rows: list[tuple[int, dict[int, Value]]]
    faults: dict[tuple[int, int], Problem] = field(default_factory=dict)

    def source(self, row: int | None = None, column: int | None = None) -> Source:
        """Return where a cell (or row, or the table itself) stands, as a spreadsheet program names it."""
        cell = None if row is None else f"{column_letters(column)}{row}" if column else f"row {row}"
        return Source(file=self.file, sheet=self.sheet, cell=cell)


def read_sheet(path: Path) -> tuple[list[Table], list[Problem]]:
    """Read every sheet of the file that holds anything.

    Returns:
        The tables, and flags for sheets that are empty or open elsewhere (worth knowing, not wrong).

    Raises:
        UserError: the file is missing, locked, encrypted, damaged, empty, or of a kind we do not read.
    """
    kind = path.suffix.lower()
    if kind not in BOOKS + TEXTS:
        raise UserError(
            f"{path} is not an answer sheet we read",
            found=kind or "no file ending",
            allowed=[*BOOKS, *TEXTS, ".jsonl"],
            do="save it as .xlsx or .csv in the spreadsheet program",
        )
    data = read_source(path)
    grids = _read_book(path, data) if kind in BOOKS else [_read_text(path, data)]
    flags = [_flag_open(path)] if _open_elsewhere(path) else []
    tables = []
    for grid in grids:
        if any(grid.rows):
            tables.append(_with_headings(grid))
        else:
            flags.append(Problem(kind="empty-sheet", message="the sheet is empty", source=grid.source()))
    if not tables:
        raise UserError(f"{path} holds no rows", do="name a sheet with one heading row and the answers below it")
    return tables, flags


def read_source(path: Path) -> bytes:
    """Return a user's file whole.

    Raises:
        UserError: it is missing, a folder, or locked.
    """
    try:
        return path.read_bytes()
    except PermissionError:
        raise UserError(
            f"{path} cannot be opened", found="no permission, or locked by another program",
            do="close it there, or ask for the right to read it",
        ) from None  # fmt: skip
    except OSError as error:
        raise UserError(f"{path} cannot be opened", found=error.strerror) from None


@cache
def column_letters(column: int) -> str:
    """Return a column's letters: 1 is A, 27 is AA."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def cell_text(value: Value | None) -> str:
    """Return a cell as text: whole numbers without `.0`, None as ''."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _read_book(path: Path, data: bytes) -> list[Table]:
    """Read a workbook's sheets; formulas stay formulas, so that each can be listed."""
    from residency.data.book import read_book

    if data.startswith(_OLE):
        raise UserError(f"{path} is locked by a password, or an old Excel format", do="save it as .xlsx without one")
    try:
        unpacked = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if unpacked > MAX_UNPACKED:
            raise UserError(f"{path} unpacks to {unpacked >> 20} MiB", allowed=f"up to {MAX_UNPACKED >> 20} MiB")
        return [_read_grid(path, title, sheet) for title, sheet in read_book(data)]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError, ParseError) as error:
        raise UserError(f"{path} is no workbook, or a damaged one", found=error, do="open and save it again") from None


def _read_grid(path: Path, title: str, sheet: "BookSheet") -> Table:
    """Return a sheet's cells as they stand, headings not yet found; of a merged area the first cell keeps its value."""
    values: defaultdict[int, dict[int, Value]] = defaultdict(dict)
    faults: dict[tuple[int, int], Problem] = {}
    table = Table(str(path), title, 0, {}, [], faults)
    for row, column, value, kind in sheet.cells():
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        values[row][column] = value if isinstance(value, _KINDS) else str(value)
        if kind in ("f", "e"):
            faults[row, column] = _bad_cell(table, row, column, kind, value)
    for area in sheet.merged():
        for row, column in area.cells:
            message = f"cells {area.coord} are merged: whose value it is cannot be told"
            faults[row, column] = Problem(kind="merged", message=message, source=table.source(row, column))
            if (row, column) != (area.min_row, area.min_col) and row in values:
                values[row].pop(column, None)
    table.rows.extend((row, cells) for row, cells in sorted(values.items()) if cells)
    return table


def _bad_cell(table: Table, row: int, column: int, kind: str, value: object) -> Problem:
    if kind == "e":
        return Problem(kind="error-cell", message=f"the cell shows {value}", source=table.source(row, column))
    message = f"a formula ({str(value)[:60]}), not a value: copy the column and paste it as values"
    return Problem(kind="formula", message=message, source=table.source(row, column))


def _read_text(path: Path, data: bytes) -> Table:
    text = decode_text(data)
    if "\0" in text:
        raise UserError(f"{path} is no text table", found="zero bytes", do="export the sheet as CSV again")
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=find_delimiter(path, text)))
    except csv.Error as error:
        raise UserError(f"{path} is no text table", found=error) from None
    table = Table(str(path), None, 0, {}, [])
    for number, record in enumerate(records, 1):
        cells: dict[int, Value] = {column: value for column, value in enumerate(record, 1) if value.strip()}
        if cells:
            table.rows.append((number, cells))
    return table


def decode_text(data: bytes) -> str:
    """Decode a text table: UTF-8 or UTF-16 by its mark, UTF-8 where it is valid, else Windows-1252 (Excel's CSV)."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def find_delimiter(path: Path, text: str) -> str:
    """Return the separator that cuts the first lines into the most columns alike (tab first in a .tsv)."""
    sample = text[:20000]
    best, most = ",", 0.0
    for delimiter in "\t,;|" if path.suffix.lower() == ".tsv" else ",;\t|":
        records = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row][:20]
        widths = [len(row) for row in records[:-1] or records]
        if widths and widths[0] > 1:
            alike = widths[0] * sum(width == widths[0] for width in widths) / len(widths)
            if alike > most:
                best, most = delimiter, alike
    return best


def _with_headings(grid: Table) -> Table:
    """Take the first of the top rows that names an image as headings, else the first row that has two cells."""
    top = grid.rows[:_HEADING_ROWS]
    index = next((i for i, (_, cells) in enumerate(top) if any(map(_names_image, cells.values()))), None)
    if index is None:
        index = next((i for i, (_, cells) in enumerate(top) if len(cells) > 1), 0)
    row, cells = grid.rows[index]
    headings = {column: cell_text(value).strip() for column, value in cells.items()}
    faults = {place: fault for place, fault in grid.faults.items() if place[0] >= row}
    return Table(grid.file, grid.sheet, row, headings, grid.rows[index + 1 :], faults)


def _names_image(value: Value) -> bool:
    return isinstance(value, str) and _IMAGE.fullmatch(value) is not None


def _open_elsewhere(path: Path) -> bool:
    marks = (f"~${path.name}", f"~${path.name[2:]}", f".~lock.{path.name}#")
    return any((path.parent / mark).exists() for mark in marks)


def _flag_open(path: Path) -> Problem:
    message = "open in a spreadsheet program: what is not saved there is not read"
    return Problem(kind="open-elsewhere", message=message, source=Source(file=str(path)))
