"""The notebook: stored without outputs, and executed whole, with what it shows at its end."""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
SECONDS = 60


def read_notebook() -> Any:
    nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[dev]'")
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in code_cells(read_notebook()):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_the_notebook_goes_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In less than a minute of one core's time (the clock would count other work on the machine, too)."""
    nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[dev]'")
    pytest.importorskip("ipykernel", reason="pip install -e '.[dev]'")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read_notebook()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
    told = ["".join(str(output.get("text", "")) for output in cell.outputs) for cell in code_cells(notebook)]
    assert not [text for text in told if "error:" in text or "Traceback" in text]
    for words, text in zip(("studies", "dataset/audit.html", "Writing", "preflight", "majority"), told, strict=False):
        assert words in text
    last = code_cells(notebook)[-1].outputs
    shown = {kind for output in last for kind in output.get("data", {})}
    assert {"image/png", "text/markdown"} <= shown
    table = next(output["data"]["text/markdown"] for output in last if "text/markdown" in output.get("data", {}))
    assert len(table.splitlines()) == 4  # head, line, and the plane's and the quality's answers
    assert (tmp_path / "runs" / "quick" / "report.html").is_file()
