"""The benchmark of few real images: quick on the real path, resumed cell by cell, patients counted once."""

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks import import_benchmark
from tests.documents import ROOT

SHARED = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not (SHARED / "fetal_planes").is_dir(), reason="the real images are not on this machine"
)


@pytest.fixture(scope="module")
def fewshot() -> ModuleType:
    return import_benchmark("fewshot")


def test_a_quick_run_is_resumed_cell_by_cell(
    fewshot: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--quick", "--only", "a", "--rows", "majority,probe,tuned", "--work", str(tmp_path), "--jobs", "1"]
    fewshot.main(call)
    first = capsys.readouterr()
    results = tmp_path / "quick.jsonl"
    cells = {cell["row"]: cell for cell in map(json.loads, results.read_text().splitlines())}
    assert sorted(cells) == ["blind", "majority", "probe", "tuned"]  # a tuned model answers blind, too
    assert all(len(cell["marks"]) == 36 and cell["memory_mb"] > 100 for cell in cells.values())
    assert cells["tuned"]["seconds"] > 0
    assert re.search(r"\| nano, tuned with the shipped recipe \| [01]\.\d\d \(", first.out)
    assert "| majority answer | 0.25 (0.25 to 0.25) |" in first.out
    lines = results.read_bytes().splitlines(keepends=True)
    fewshot.main(call)
    assert results.read_bytes() == b"".join(lines)
    assert capsys.readouterr() == (first.out, "")  # the same tables, and nothing was done
    results.write_bytes(b"".join(line for line in lines if json.loads(line)["row"] != "majority"))
    fewshot.main(call)
    again = capsys.readouterr()
    assert [line.split(":")[0] for line in again.err.splitlines()] == ["a-1-0 majority"]
    fewshot.main([*call, "--table"])
    assert capsys.readouterr() == (again.out, "")
    assert tuned_lines(again.out) == tuned_lines(first.out)


def tuned_lines(table: str) -> list[str]:
    return [line for line in table.splitlines() if "nano, tuned" in line]


def test_a_patient_counts_once_however_many_draws_test_it(fewshot: ModuleType) -> None:
    from fewshot_cells import Cell  # type: ignore[import-not-found]
    from fewshot_table import gain, score  # type: ignore[import-not-found]

    def cell(row: str, draw: int, *hits: tuple[str, bool]) -> object:
        marks = [(f"{group}-{truth}", group, truth, truth if hit else None) for group, hit in hits for truth in "xy"]
        return Cell(
            experiment="a", size=1, draw=draw, row=row, settings="", seconds=1.0, memory_mb=1.0, marks=tuple(marks)
        )

    own = [cell("tuned", 0, ("p1", True), ("p2", True)), cell("tuned", 1, ("p1", False), ("p3", True))]
    assert score(own).value == pytest.approx((0.5 + 1 + 1) / 3)  # not 3 of 4
    assert score(own).groups == 3
    other = [cell("lite-tuned", 0, ("p1", False), ("p2", False))]
    assert gain(own, other).value == pytest.approx(1.0)  # on the draw that both have


def test_draws_keep_patients_apart_and_halves_keep_tested_images_out(fewshot: ModuleType, tmp_path: Path) -> None:
    from fewshot_data import EXPERIMENTS, draws_of, prepare  # type: ignore[import-not-found]

    experiment = EXPERIMENTS["a"]
    dataset = prepare(experiment, SHARED, tmp_path)
    for size, draws in ((size, draws_of(experiment, dataset, size)) for size in experiment.sizes):
        assert len({tuple(sorted({s.group for s in draw.train})) for draw in draws}) == 10
        for draw in draws:
            train, test = ({s.group for s in part} for part in (draw.train, draw.test))
            assert len(train) == size
            assert len(train | test) == 10
            assert not train & test
    halves = draws_of(experiment, dataset, 1)[0].halves()
    assert sorted(s.id for half in halves for s in half.test) == sorted(
        s.id for s in draws_of(experiment, dataset, 1)[0].test
    )
    for half in halves:
        assert not {s.image for s in half.bare} & {s.image for s in half.test}
        assert all(s.suffix is None and s.answer is None for s in half.bare)
