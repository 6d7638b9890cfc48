"""What the suites of examination share: the installed command, called in this process."""

from collections.abc import Callable

import pytest

from tests.run_command import call_residency

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command; return its exit code and what it told on standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = call_residency(*arguments)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
