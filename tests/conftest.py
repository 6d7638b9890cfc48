"""What several suites share."""

from pathlib import Path

import pytest

from tests.made_run import make_run


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a dataset of 60 groups, 20 of them examined."""
    return make_run(tmp_path_factory.mktemp("made"))
