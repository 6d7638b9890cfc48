"""Path-VQA to an exported LLaVA by the installed command: parquet in, the shipped recipe, a folder for transformers."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import BitsAndBytesConfig, LlavaForConditionalGeneration

from residency.data.dataset import load_dataset
from residency.recipe import load_recipe
from tests.contract.tiny_causal import build_tiny_llava
from tests.documents import ROOT
from tests.run_command import run_residency

RECIPE = ROOT / "recipes" / "pathvqa-llava-4bit.yaml"
COUNTS = {"train": 24, "validation": 8, "test": 12}
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def draw_picture(rng: np.random.Generator, left: bool) -> bytes:
    """A disc at one side of a picture of its own colours, 48 x 40."""
    picture = rng.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(picture).resize((48, 40)))
    y, x = np.mgrid[0:40, 0:48]
    disc = (x - (12 if left else 36)) ** 2 + (y - 20) ** 2 < 64
    file = io.BytesIO()
    Image.fromarray(np.where(disc[..., None], 255, large).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_split(path: Path, rows: list[dict[str, object]]) -> None:
    table = pa.table(
        {
            "image": pa.array([row["image"] for row in rows], KIND),
            "question": pa.array([row["question"] for row in rows], pa.string()),
            "answer": pa.array([row["answer"] for row in rows], pa.string()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as the hub lays it out: each picture's bytes stand in each of its rows; names are not kept."""
    folder = tmp_path_factory.mktemp("hub") / "path-vqa"
    rng = np.random.default_rng(0)
    for split, images in COUNTS.items():
        rows: list[dict[str, object]] = []
        for number in range(images):
            left = bool(number % 2)
            image = {"bytes": draw_picture(rng, left), "path": None}
            rows += [
                {"image": image, "question": "where is the disc?", "answer": "left side" if left else "right side"},
                {"image": image, "question": "is the disc at the left?", "answer": "Yes" if left else "no"},
            ]
        write_split(folder / "data" / f"{split}-00000-of-00001-5b2c.parquet", rows)
    (folder / "README.md").write_text("a dataset card")
    return folder


def test_the_shipped_recipe_trains_and_its_export_loads_on_4_bits(published: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    out = tmp_path / "dataset"
    done = run_residency("ingest", "--images", published, "--group-by", "image", "--out", out, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["images"], told["annotated"]) == (44, 88)
    assert before == {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    dataset = load_dataset(out)
    assert all(dataset.image_path(sample).is_relative_to(out / "images") for sample in dataset.samples)
    assert all(dataset.image_path(sample).is_file() for sample in dataset.samples)
    assert {len(dataset.split(name)) for name in ("train", "val", "test")} == {48, 16, 24}
    assert {(sample.question, sample.answer) for sample in dataset.samples} == {
        ("closed", "yes"), ("closed", "no"), ("open", "left side"), ("open", "right side"),
    }  # fmt: skip

    build_tiny_llava(tmp_path / "llava")
    recipe = load_recipe(RECIPE)
    assert (recipe.model, recipe.train.epochs, recipe.tune.quantize) == ("llava-hf/llava-1.5-7b-hf", 3, "nf4")
    small = (f"data={out}", f"model={tmp_path / 'llava'}", f"out={tmp_path / 'runs'}")
    learns = ("train.learning_rate=5e-3", "train.part_learning_rates={}", "train.accumulate=1")  # from random weights
    done = run_residency("train", RECIPE, *small, *learns)
    assert done.code == 0, done.err
    assert "language (nf4 linear layers, bf16)" in done.err
    run = tmp_path / "runs" / recipe.name
    answers = [json.loads(line) for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
    assert len(answers) == 24
    assert all(set(answer["candidates"]) == {"yes", "no"} for answer in answers if "closed" in answer["id"])
    assert run_residency("evaluate", run).code == 0

    done = run_residency("export", run, "--floor", "0.5")  # weights drawn at random lose more to nf4 than real ones
    assert done.code == 0, done.err
    assert re.search(r"bfloat16: \d+ of 16 answers are the run's own", done.out)
    assert re.search(r"quantized again: \d+ of 16 answers are the run's own", done.out)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    model = LlavaForConditionalGeneration.from_pretrained(run / "export", quantization_config=nf4)
    packed = [name for name, weight in model.named_parameters() if hasattr(weight, "quant_state")]
    assert any("language_model" in name for name in packed)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_rows_are_drawn_by_the_seed_and_only_their_pictures_unpacked(published: Path, tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        done = run_residency("ingest", "--images", published, "--group-by", "image", "--limit", 60, "--seed", 3,
                             "--resplit", "--out", tmp_path / name)  # fmt: skip
        assert done.code == 0, done.err
        dataset = load_dataset(tmp_path / name)
        drawn.append([(sample.id, sample.suffix, sample.source) for sample in dataset.samples])
        assert len(list((tmp_path / name / "images").iterdir())) == len({sample.image for sample in dataset.samples})
    assert len(drawn[0]) == 60
    assert drawn[0] == drawn[1]
    assert not list(tmp_path.glob(".*"))


def test_rows_that_cannot_be_read_are_listed_with_their_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole: list[dict[str, object]] = [
        {"image": {"bytes": draw_picture(rng, True), "path": "x.jpg"}, "question": "where?", "answer": "left side"}
        for _ in range(8)
    ]
    bad: list[dict[str, object]] = [
        {"image": {"bytes": b"no picture", "path": "y.jpg"}, "question": "where?", "answer": "left side"},
        {"image": {"bytes": draw_picture(rng, True), "path": "z.jpg"}, "question": "where?", "answer": None},
    ]
    write_split(tmp_path / "hub" / "train-00000-of-00001.parquet", whole + bad)
    asked = ("ingest", "--images", tmp_path / "hub", "--group-by", "image", "--resplit", "--out", tmp_path / "out")
    done = run_residency(*asked)
    assert done.code == 1
    assert "train-00000-of-00001.parquet row 9" in done.err
    assert "no answer that can be read" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]
    assert run_residency(*asked, "--skip-bad").code == 0
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "train-0.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    done = run_residency("ingest", "--images", tmp_path / "cut", "--group-by", "image", "--out", tmp_path / "none")
    assert done.code == 1
    assert "is no parquet file" in done.err


def test_a_name_in_llavas_own_layout_is_answered_with_its_twin(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    assert run_residency("ingest", "--images", published, "--group-by", "image", "--out", out).code == 0
    done = run_residency("train", RECIPE, f"data={out}", "model=liuhaotian/llava-v1.5-13b", f"out={tmp_path}")
    assert done.code == 2
    assert "model: llava-hf/llava-1.5-13b-hf  (the same weights)" in done.err


def test_a_limit_is_refused_where_pictures_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jsonl").write_text('{"image": "a.png", "prefix": "q", "suffix": "a"}\n')
    done = run_residency("ingest", "--sheet", tmp_path / "p" / "a.jsonl", "--images", tmp_path / "p", "--group-by",
                         "image", "--limit", "3", "--out", tmp_path / "o")  # fmt: skip
    assert done.code == 2
    assert "path-vqa" in done.err
