"""Datasets of the hub as they lie on disk, through the installed command; written as they are published."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.test_sources import answers, draw_all, fail, ingest, kinds, write_json


def picture(seed: int) -> bytes:
    grey = np.random.default_rng(seed).integers(0, 255, (6, 6)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).resize((48, 48)).save(file, "PNG")
    return file.getvalue()


def test_a_dataset_that_was_saved_to_disk_keeps_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="`datasets`, which saves to disk, comes with the extra `bench`")
    features = datasets.Features({"image": datasets.Image(), "question": datasets.Value("string"),
                                  "answer": datasets.Value("string")})  # fmt: skip
    sizes = {"train": (0, 4), "validation": (4, 6), "test": (6, 8)}
    rows = {
        split: [
            {"image": {"bytes": picture(seed), "path": None}, "question": asked, "answer": told}
            for seed in range(*span)
            for asked, told in (("Is it large?", "yes" if seed % 2 else "No"), ("What is it?", "a blot"))
        ]
        for split, span in sizes.items()
    }
    saved = {split: datasets.Dataset.from_list(list_, features=features) for split, list_ in rows.items()}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "hub")
    told, dataset = ingest(tmp_path / "hub", tmp_path / "out")
    assert (told["images"], told["annotated"], kinds(told)) == (8, 16, {})
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [8, 4, 4]
    assert {(s.question, s.suffix) for s in dataset.samples} == {
        ("closed", "yes"),
        ("closed", "no"),
        ("open", "a blot"),
    }
    assert all(dataset.image_path(sample).is_relative_to(tmp_path / "out") for sample in dataset.samples)
    arrow = next((tmp_path / "hub" / "test").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:40])
    assert "is no Arrow file" in fail(tmp_path / "hub", tmp_path / "bad")


def test_captions_of_laion_and_conversations_of_vision_flan_in_parquet(tmp_path: Path) -> None:
    images = [{"bytes": picture(seed), "path": None} for seed in range(4)]
    bad = [{"bytes": b"no picture", "path": None}, {"bytes": picture(9), "path": None}]
    captions = pa.table({"image": images + bad, "caption": ["a chest", "a head", "a hand", "a foot", "lost", ""]})
    (tmp_path / "laion").mkdir()
    pq.write_table(captions, tmp_path / "laion" / "00000.parquet")
    error = fail(tmp_path / "laion", tmp_path / "out")
    assert "00000.parquet row 5: no picture that can be read" in error
    assert "00000.parquet row 6: no question with its answer" in error
    told, dataset = ingest(tmp_path / "laion", tmp_path / "out", "--skip-bad")
    assert told["skipped_rows"] == 2
    assert [(s.prefix, s.suffix) for s in dataset.samples if s.suffix][:2] == [
        ("<CAPTION>", "a chest"),
        ("<CAPTION>", "a head"),
    ]
    turns = [{"from": "human", "value": "<image>\nWhat is shown?"}, {"from": "gpt", "value": "a blot"},
             {"from": "human", "value": "Is it dark?"}, {"from": "gpt", "value": "Yes"}]  # fmt: skip
    (tmp_path / "flan").mkdir()
    table = pa.table({"image": images, "conversations": [turns] * 4, "task_name": ["t"] * 4})
    pq.write_table(table, tmp_path / "flan" / "train.parquet")
    _, dataset = ingest(tmp_path / "flan", tmp_path / "talk", "--resplit")
    assert {(s.prefix, s.suffix, s.question) for s in dataset.samples} == {
        ("What is shown?", "a blot", "open"), ("Is it dark?", "yes", "closed"),
    }  # fmt: skip
    plain = pa.table({"size": [1, 2]})
    (tmp_path / "plain").mkdir()
    pq.write_table(plain, tmp_path / "plain" / "a.parquet")
    assert "huggingface: datasets of the hub on disk" in fail(tmp_path / "plain", tmp_path / "none")


def test_conversations_in_json_and_bad_ones(tmp_path: Path) -> None:
    draw_all(tmp_path / "talk" / "images", "a.png b.png c.png")
    turns = [{"from": "human", "value": "<image>\nWhat is shown?"}, {"from": "gpt", "value": "a blot"}]
    good = [{"id": name, "image": f"{name}.png", "conversations": turns} for name in "abc"]
    write_json(tmp_path / "talk" / "instruct.json", good)
    _, dataset = ingest(tmp_path / "talk", tmp_path / "out")
    assert answers(dataset)["a.png", "What is shown?"] == "a blot"
    bad = [{"image": "a.png", "conversations": turns[:1]}, {"image": "lost.png", "conversations": turns}, {"id": 3}]
    write_json(tmp_path / "talk" / "instruct.json", good + bad)
    error = fail(tmp_path / "talk", tmp_path / "bad")
    assert "3 problem(s)" in error
    for told_of in (
        "record 4: its conversation holds no question",
        "no image `lost.png`",
        "record 6: no image and no conv",
    ):
        assert told_of in error
