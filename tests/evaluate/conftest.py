"""What the suites of examination share: the installed command, called in this process."""

import sys
from collections.abc import Callable

import pytest

from residency.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command; return its exit code and what it told on standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["residency", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(str(stop.code or 0))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
