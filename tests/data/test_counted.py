"""Images with boxes, ingested with questions whose answers follow from the boxes."""

import json
from pathlib import Path

import pytest

from residency.data.dataset import load_dataset
from tests.run_command import run_residency

CELLS = Path(__file__).parents[3] / "shared" / "data" / "blood_cells"


@pytest.mark.skipif(not CELLS.is_dir(), reason="the shared blood smears are not here")
def test_boxes_are_named_counted_and_described(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    stems = sorted(path.stem for path in (CELLS / "Annotations").glob("*.xml"))
    for stem in (*stems[:10], "BloodImage_00338"):
        for name, ending in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
            (folder / name / f"{stem}{ending}").write_bytes((CELLS / name / f"{stem}{ending}").read_bytes())
    asked = ("ingest", "--images", folder, "--group-by", "image", "--skip-bad", "--out", tmp_path / "data")
    every = ("--ask", "boxes", "--ask", "count", "--ask", "description")
    done = run_residency(*asked, *every, "--json")
    assert done.code == 0 and json.loads(done.out)["found"]["invalid-box"] == 1
    dataset = load_dataset(tmp_path / "data")
    labels = sorted({box.label for sample in dataset.samples for box in sample.boxes})
    assert len(dataset.samples) == 11 * (2 + len(labels))
    held = {sample.question: sample for sample in dataset.samples if "00338" in sample.image}
    marked = [box.label for box in held["od"].boxes]
    assert held["od"].prefix == f"<OD> {' ; '.join(labels)}"
    for label in labels:
        assert held[f"count-{label.lower()}"].suffix == f"{marked.count(label)} {label}"
        assert f"{marked.count(label) or 'no'} {label}" in (held["description"].suffix or "")
    assert not held["description"].boxes
    assert run_residency("audit", tmp_path / "data").code == 0
    alone = run_residency(*asked[:-1], tmp_path / "counts", "--ask", "count")
    assert alone.code == 0 and {s.question for s in load_dataset(tmp_path / "counts").samples} == {
        f"count-{label.lower()}" for label in labels
    }
    wrong = run_residency(*asked[:-1], tmp_path / "wrong", "--ask", "weight")
    assert wrong.code == 2 and "boxes, count, description" in wrong.err and not (tmp_path / "wrong").exists()
