"""Published layouts through the installed command: real files where they are at hand, small ones as published else."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from residency.data.dataset import Dataset, load_dataset
from tests.data.make import draw_image
from tests.run_command import run_residency

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not on this machine")


def ingest(images: Path, out: Path, *more: str, group_by: str = "image") -> tuple[dict[str, Any], Dataset]:
    """Run the command, which must succeed; return what it told and what it wrote."""
    done = run_residency("ingest", "--images", images, "--group-by", group_by, "--out", out, "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out), load_dataset(out)


def fail(images: Path, out: Path, *more: str) -> str:
    """Run the command, which must fail and leave nothing behind; return the error it told."""
    done = run_residency("ingest", "--images", images, "--group-by", "image", "--out", out, *more)
    assert done.code in (1, 2) and not out.exists()
    return done.err


def draw_all(folder: Path, names: str) -> None:
    for number, name in enumerate(names.split()):
        draw_image(folder / name, seed=number)


@needs_shared
def test_vqa_rad_is_refused_as_published_and_split_anew_lists_its_defects(tmp_path: Path) -> None:
    images = SHARED / "vqa_rad"
    error = fail(images, tmp_path / "leaky")
    assert "split-leak: 202 problem(s)" in error
    assert "202 of the 203 images of the published test split also occur in train" in error and "--resplit" in error
    told, dataset = ingest(images, tmp_path / "out", "--resplit")
    assert told["found"] == {
        "number-answer": 5,
        "tab-answer": 5,
        "stray-space": 2,
        "repeated-row": 4,
        "unused-image": 1,
        "published-leak": 1,
    }
    assert (told["images"], told["annotated_images"], told["annotated"]) == (315, 314, 2248 - 4)
    flags = {flag["kind"]: flag["message"] for flag in told["flags"]}
    assert flags["stray-space"] == "answer_type is `CLOSED `: read as `CLOSED`"
    fold = dataset.require_fold(0)
    assert not {*fold.train} & {*fold.test} and not {*fold.train} & {*fold.val} and not {*fold.val} & {*fold.test}
    splits = fold.split_of()
    of_image = {sample.image: {splits[s.group] for s in dataset.samples if s.image == sample.image} for sample in
                dataset.samples[:400]}  # fmt: skip
    assert {len(found) for found in of_image.values()} == {1}
    asked = Counter(sample.question for sample in dataset.samples)
    assert asked["closed"] == 1193 - 2 and {s.answer for s in dataset.samples if s.question == "closed"} == {
        "yes",
        "no",
    }
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "202 of the 203 images" in page and "CLOSED " in page and "read as <code>12</code>" in page
