"""Every command of docs/sources.md is given as it stands, on small folders laid out as it says."""

from pathlib import Path

import pytest

from residency.data.dataset import load_dataset
from residency.data.sources.formats import FORMATS
from tests.data.layouts import write_layouts
from tests.documents import ROOT, commands_of
from tests.run_command import run_residency

PAGE = ROOT / "docs" / "sources.md"


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_layouts(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in commands_of(PAGE):
        given = [str(ROOT / word) if word.startswith("recipes/") else word for word in command[1:]]
        done = run_residency(*given)
        assert done.code == 0, (command, done.err)
        if command[1] == "ingest":
            assert load_dataset(tmp_path / command[command.index("--out") + 1]).samples[0].suffix


def test_the_page_tells_of_every_format() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert not [name for name in FORMATS if f"| `{name}` |" not in text]
