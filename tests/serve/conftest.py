"""One server for many tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.server import Server, draw_study, serving


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [draw_study(folder / f"{number}.png", number) for number in range(6)]


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """nano on this machine's own address, without tokens."""
    with serving(tmp_path_factory.mktemp("served"), "--most-mb", 8) as running:
        yield running
