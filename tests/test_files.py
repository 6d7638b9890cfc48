"""Our own files: lines that hold any character come back, and what is damaged is told with its place."""

from pathlib import Path

import pytest

from residency.data.jsonl import read_jsonl
from residency.errors import CheckFailed
from residency.files import read_lines, write_lines
from residency.types import Sample

SEPARATORS = "one\u2028two\u2029three\x85four\x0bfive\x1csix"
"""Characters at which `str.splitlines` cuts, though JSON lines end at a line feed alone."""


def test_any_character_comes_back_from_our_lines(tmp_path: Path) -> None:
    samples = [Sample(id=str(number), image="a.png", prefix=SEPARATORS, group="g") for number in range(3)]
    write_lines(tmp_path / "samples.jsonl", samples)
    assert read_lines(tmp_path / "samples.jsonl", Sample) == samples


def test_any_character_comes_back_from_a_users_lines(tmp_path: Path) -> None:
    line = '{"image": "a.png", "prefix": "Which?", "suffix": "one\u2028two"}'
    (tmp_path / "train.jsonl").write_text(f"{line}\r\n\r\n{line}\n", encoding="utf-8", newline="")
    lines, problems = read_jsonl(tmp_path / "train.jsonl")
    assert not problems
    assert [found.source.cell for found in lines] == ["line 1", "line 3"]
    assert lines[0].values["suffix"] == "one\u2028two"


def test_damaged_lines_are_all_told_with_their_numbers(tmp_path: Path) -> None:
    good = Sample(id="1", image="a.png", prefix="p", group="g").line()
    (tmp_path / "samples.jsonl").write_text(f"{good}\nno json\n{good}\n{{}}\n")
    with pytest.raises(CheckFailed) as caught:
        read_lines(tmp_path / "samples.jsonl", Sample)
    assert [problem.source and problem.source.cell for problem in caught.value.problems] == ["line 2", "line 4"]
