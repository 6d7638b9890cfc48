"""The `residency` command's arguments in, its exit code and what it told out; run in this process, for speed."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

from residency.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run_residency(*arguments: object) -> Done:
    """Run the installed command's own entry point with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["residency", *map(str, arguments)]):
        try:
            main()
        except SystemExit as ended:
            return Done(int(ended.code or 0), out.getvalue(), err.getvalue())
    return Done(0, out.getvalue(), err.getvalue())
