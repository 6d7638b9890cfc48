from pathlib import Path

import pytest
from benchmarks.messy_restore import AT_LEAST, AT_MOST, measure_restoring

from residency.data.audit import audit_dataset
from residency.ultrasound.phantom.sheet import write_phantom


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messy") / "phantom"
    write_phantom(folder, 25, seed=11, messy=True, size=64, workers=1)
    return folder


def test_planted_defects_are_restored_or_listed_and_clean_cells_stay(messy: Path, tmp_path: Path) -> None:
    tally = measure_restoring(messy, tmp_path / "d")
    assert sum(tally.found.values()) > 100
    assert tally.share >= AT_LEAST
    assert tally.clean > 300
    assert len(tally.changed) <= AT_MOST * tally.clean
    assert (tally.guessed, tally.unlisted) == ([], [])
    defects = {defect.kind: defect for defect in audit_dataset(tmp_path / "d").defects}
    assert defects["misspelling"].restored >= tally.restored["misspelling"] * 0.8
    assert sum(tally.listed[kind] for kind in tally.lost) == sum(defect.listed for defect in defects.values())


def test_a_clean_simulated_sheet_comes_back_whole(tmp_path: Path) -> None:
    write_phantom(tmp_path / "p", 6, seed=5, size=64, workers=1)
    (tmp_path / "p" / "defects.jsonl").write_text("")
    tally = measure_restoring(tmp_path / "p", tmp_path / "d")
    assert (tally.found, tally.changed) == ({}, [])
    assert tally.clean > 80
