"""Images are read beside other work: by threads where they are few, by processes where they are many."""

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from residency.data import images as module
from residency.data.duplicates import find_twins
from residency.data.images import read_images, reading_ahead
from residency.data.index import index_images
from residency.data.ingest import ingest
from residency.errors import CheckFailed, UserError
from tests.data.make import ROW, clean_rows, draw_image, make_source

needs_processes = pytest.mark.skipif(sys.platform != "linux", reason="images are read by threads here")


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take ten images for many, so that processes read them."""
    monkeypatch.setattr(module, "_MANY", 10)


def draw_images(folder: Path, count: int = 40) -> dict[str, Path]:
    for number in range(count):
        draw_image(folder / f"{number:02}.png", number)
    (folder / "07.png").write_bytes(b"no picture")
    return index_images(folder).paths


@needs_processes
def test_processes_read_what_threads_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = draw_images(tmp_path)
    assert isinstance(module._open_pool(2, len(paths)), ThreadPoolExecutor)
    by_threads = read_images(paths)
    monkeypatch.setattr(module, "_MANY", 10)
    assert isinstance(module._open_pool(2, len(paths)), ProcessPoolExecutor)
    by_processes = read_images(paths)
    assert by_processes == by_threads
    assert [image.thumb for image in by_processes[0]] == [image.thumb for image in by_threads[0]]
    assert find_twins(by_processes[0]) == find_twins(by_threads[0])
    assert [problem.source.file for problem in by_processes[1] if problem.source] == ["07.png"]


@needs_processes
def test_a_reader_that_is_killed_is_an_error(tmp_path: Path, many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_image", lambda name, path: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="ended from outside"):
        read_images(draw_images(tmp_path))


@pytest.mark.usefixtures("many")
def test_an_error_beside_the_reading_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reading_ahead(draw_images(tmp_path)):
        raise ZeroDivisionError


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_row_whose_image_turns_out_unreadable_is_bad(tmp_path: Path, skip_bad: bool) -> None:
    rows = clean_rows()
    make_source(tmp_path, rows)
    (tmp_path / "images" / "i03.png").write_bytes(b"no picture")
    arguments = (tmp_path / "answers.xlsx", tmp_path / "images", "fetal8", tmp_path / "dataset", "column:Patient")
    if not skip_bad:
        with pytest.raises(CheckFailed, match=r"i03.png.*cannot be decoded"):
            ingest(*arguments)
        return
    summary = ingest(*arguments, skip_bad=True)
    assert (summary.skipped_rows, summary.images, summary.samples) == (1, 11, 11 * len(ROW))
    assert [problem.kind for problem in summary.problems] == ["unreadable-image"]
