import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from made_run import make_run


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a dataset of 60 groups, 20 of them examined."""
    return make_run(tmp_path_factory.mktemp("made"))
