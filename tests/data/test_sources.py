"""Published layouts through the installed command: real files where they are at hand, small ones as published else."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from residency.config import load_recipe
from residency.data.dataset import Dataset, load_dataset
from residency.errors import CheckFailed
from residency.material import gather_material
from tests.data.make import draw_image
from tests.documents import ROOT
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
    assert "--accept published-leak" in error
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


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def rad_record(image: str, answer: object, phrase_type: str = "freeform", **more: object) -> dict[str, object]:
    known = {"qid": 1, "question": f"Is {answer} shown?", "image_organ": "HEAD", "answer_type": "CLOSED"}
    return known | {"image_name": image, "answer": answer, "phrase_type": phrase_type} | more


def test_a_published_split_that_leaks_is_kept_by_name_alone_and_said_to_leak(tmp_path: Path) -> None:
    draw_all(tmp_path / "rad" / "images", "a.png b.png c.png")
    records = [rad_record(f"{name}.png", answer) for name in "ab" for answer in ("yes", "no")]
    records += [rad_record(f"{name}.png", "lung", "test_para") for name in "bc"]
    write_json(tmp_path / "rad" / "public.json", records)
    out = tmp_path / "out"
    assert "allowed: published-leak" in fail(tmp_path / "rad", out, "--accept", "leak")
    assert "1 of the 2 images of the published test split also occur in train" in fail(tmp_path / "rad", out)
    _, dataset = ingest(tmp_path / "rad", out, "--accept", "published-leak")
    assert [sample.columns["phrase_type"] for sample in dataset.split("test")] == ["test_para", "test_para"]
    assert len(dataset.split("train")) == 4
    done = run_residency("audit", out)
    assert done.code == 1 and "image `../rad/images/b.png` in test and train [leak-image]" in done.err
    recipe = load_recipe(ROOT / "recipes" / "fetal8-nano.yaml", [f"data={out}", "questions=null"])
    with pytest.raises(CheckFailed, match="apart"):
        gather_material(recipe, dataset, 0)
    assert len(gather_material(recipe.model_copy(update={"accept": ("published-leak",)}), dataset, 0).test) == 2


def test_bad_vqa_rad_records_are_told_all_at_once(tmp_path: Path) -> None:
    draw_all(tmp_path / "rad" / "images", "a.png b.png c.png")
    good = [rad_record(f"{name}.png", answer) for name in "abc" for answer in ("yes", "lung")]
    bad = [
        rad_record("lost.png", "no"),
        rad_record("", "no"),
        "text",
        rad_record("a.png", "no", question="Is yes shown?"),
    ]
    path = write_json(tmp_path / "rad" / "public.json", good + bad)
    error = fail(tmp_path / "rad", tmp_path / "out")
    assert "4 problem(s)" in error
    for told in ("no image `lost.png`", "record 8 (qid 1): no image_name", "record 9 (qid ?): no object: text"):
        assert told in error
    assert "a.png: `no` here, `yes` in" in error
    told, dataset = ingest(tmp_path / "rad", tmp_path / "out", "--skip-bad")
    assert told["skipped_rows"] == 4 and {s.image.rpartition("/")[2] for s in dataset.samples} == {"b.png", "c.png"}
    path.write_text(path.read_text()[:-40])
    error = fail(tmp_path / "rad", tmp_path / "cut")
    assert "public.json is no JSON" in error and "cut short" in error
