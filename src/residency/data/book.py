"""A workbook's bytes in, its sheets' names, cells and merged areas out.

openpyxl reads the XML, without what only a spreadsheet program needs: fonts, drawings, comments, one object a cell.
"""

import io
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils.cell import coordinate_to_tuple
from openpyxl.worksheet._reader import WorkSheetParser
from openpyxl.worksheet.cell_range import CellRange
from openpyxl.xml.constants import SHEET_MAIN_NS

_TEXT = f"{{{SHEET_MAIN_NS}}}t"


class BookSheet(WorkSheetParser):
    """One sheet, read as it is walked through; `merged` is known once all cells have passed."""

    def cells(self) -> Iterator[tuple[int, int, Any, str]]:
        """Yield row, column, value (None where empty) and openpyxl's kind (`f` formula, `e` error) of each cell."""
        for _, row in self.parse():
            for cell in row:
                yield cell["row"], cell["column"], cell["value"], cell["data_type"]

    def merged(self) -> list[CellRange]:
        """Return the areas that are merged."""
        return [CellRange(area.ref) for area in self.merged_cells.mergeCell] if self.merged_cells else []

    def parse_cell(self, element: Element) -> dict[str, Any]:
        """Read a cell; its own plain text, as most cells hold, without the objects openpyxl makes of formatted text."""
        place = element.get("r")
        if place and element.get("t") == "inlineStr" and len(element) == 1:
            pieces = list(element[0])
            if len(pieces) == 1 and pieces[0].tag == _TEXT:
                row, column = coordinate_to_tuple(place)
                self.col_counter = column
                return {"row": row, "column": column, "value": pieces[0].text, "data_type": "s", "style_id": 0}
        return super().parse_cell(element)


def read_book(data: bytes) -> Iterator[tuple[str, BookSheet]]:
    """Yield each sheet of a workbook with its title, to be read before the next; formulas stay formulas."""
    reader = ExcelReader(io.BytesIO(data), keep_links=False)
    reader.read_manifest()
    reader.read_strings()
    reader.read_workbook()
    book = reader.wb
    apply_stylesheet(reader.archive, book)
    for sheet, part in reader.parser.find_sheets():
        if part.target in reader.valid_files and "chartsheet" not in part.Type:
            with reader.archive.open(part.target) as source:
                formats = (book._date_formats, book._timedelta_formats)  # type: ignore[attr-defined]
                yield sheet.name, BookSheet(source, reader.shared_strings, False, book.epoch, *formats)
