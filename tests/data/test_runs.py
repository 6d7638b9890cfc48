"""COCO's run-length masks: read as pycocotools writes them, and refused where they lie about the picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask

from residency.data.dataset import load_dataset
from residency.data.sources.runs import decode_runs
from tests.data.make import draw_image
from tests.run_command import run_residency


@pytest.mark.parametrize("seed", range(5))
def test_letters_and_counts_are_read_as_pycocotools_writes_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = rng.random((37, 53)) < (0.02, 0.5, 0.98, 0.0, 1.0)[seed]
    told = mask.encode(np.asfortranarray(region.astype(np.uint8)))
    found = decode_runs({"size": list(told["size"]), "counts": told["counts"].decode()})
    assert found is not None and (found == region).all()
    flat = region.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [-1]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    plain = decode_runs({"size": [37, 53], "counts": counts})
    assert plain is not None and (plain == region).all()


@pytest.mark.parametrize("counts", ["zz", "00000", "\N{SNOWMAN}", "o" * 40, [5, 6], [-1, 101], ["a"], None, [10**9, 1]])
def test_runs_that_do_not_cover_the_picture_are_none(counts: object) -> None:
    assert decode_runs({"size": [10, 10], "counts": counts}) is None
    assert decode_runs({"size": [0, 10], "counts": []}) is None


def test_a_mask_becomes_outlines_through_the_command(tmp_path: Path) -> None:
    region = np.zeros((96, 96), np.uint8)
    region[20:60, 30:70] = 1
    letters = mask.encode(np.asfortranarray(region))["counts"].decode()
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for name in "abcd":
        draw_image(tmp_path / "coco" / "images" / f"{name}.png", seed=ord(name))
    images = [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate("abcd", 1)]
    marks = [
        {"image_id": n, "category_id": 1, "bbox": [30, 20, 40, 40], "segmentation": {"size": [96, 96], "counts": told}}
        for n, told in enumerate([letters, letters, letters, "zz"], 1)
    ]
    values = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "lesion"}]}
    (tmp_path / "coco" / "annotations" / "all.json").write_text(json.dumps(values))
    asked = ("ingest", "--images", tmp_path / "coco", "--group-by", "image", "--out", tmp_path / "out")
    refused = run_residency(*asked)
    assert refused.code == 1 and "annotation 4: `lesion`: no run-length mask can be read in it" in refused.err
    done = run_residency(*asked, "--skip-bad")
    assert done.code == 0, done.err
    outlined = [sample for sample in load_dataset(tmp_path / "out").samples if sample.outlines]
    assert [sample.prefix for sample in outlined] == ["Outline: lesion."] * 3
    low, high = np.min(outlined[0].outlines[0].points, 0), np.max(outlined[0].outlines[0].points, 0)
    np.testing.assert_allclose([*low, *high], [30, 20, 70, 60], atol=0.6)
