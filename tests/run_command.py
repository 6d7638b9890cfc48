"""The `residency` command's arguments in, its exit code and what it told out; run in this process, for speed."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

import pytest

from residency.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


def call_residency(*arguments: object) -> int:
    """Run the installed command's own entry point with these arguments; return its exit code."""
    with patch.object(sys, "argv", ["residency", *map(str, arguments)]), pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def run_residency(*arguments: object) -> Done:
    """Run the command, and return what it told, too; a traceback is no way to tell it."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = call_residency(*arguments)
    assert "Traceback" not in err.getvalue()
    return Done(code, out.getvalue(), err.getvalue())
