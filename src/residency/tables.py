"""Rows in, the text of a table out: CSV, or lines of Markdown."""

import csv
import io
from collections.abc import Iterable, Sequence


def tell_csv(rows: Iterable[Sequence[object]]) -> str:
    """Return rows, the headings first, as CSV."""
    told = io.StringIO()
    csv.writer(told, lineterminator="\n").writerows(rows)
    return told.getvalue()


def plain_cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def tell_markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; a bar within a cell becomes a slash."""
    lines = [[cell.replace("|", "/") for cell in row] for row in (heads, *rows)]
    first, *others = ["| " + " | ".join(line) + " |" for line in lines]
    return [first, "|" + "---|" * len(heads), *others]
