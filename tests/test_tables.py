"""Rows in, text of a table out, read back by others' readers."""

import csv
import io

import pytest

from residency.tables import plain_cell, tell_csv, tell_markdown


def test_csv_is_read_back_as_it_was() -> None:
    rows = [["name", "said"], ["a.png", 'two\nlines, "quoted"'], ["", "脊柱"]]
    assert list(csv.reader(io.StringIO(tell_csv(rows), newline=""))) == rows


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\t=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert plain_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "3-4", "femur"])
def test_any_other_cell_stays_as_it_is(text: str) -> None:
    assert plain_cell(text) == text


def test_a_bar_in_a_cell_makes_no_column() -> None:
    assert tell_markdown(["of", "score"], [["a|b", "0.5"]]) == ["| of | score |", "|---|---|", "| a/b | 0.5 |"]
