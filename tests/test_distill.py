"""Distillation through the installed command: the teacher looks once, its features are kept, the tower draws near."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model, ViTImageProcessor

from residency.models.registry import open_model
from residency.models.teacher import Teacher, map_features
from tests.curves import read_metrics
from tests.discs import build_bench
from tests.run_command import call_residency

FULL = {"lora": None, "train": ["vision", "projector", "language"]}


def build_teacher(folder: Path) -> None:
    torch.manual_seed(1)
    config = Dinov2Config(
        hidden_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)


def write_recipe(bench: Path, name: str, **train: object) -> Path:
    recipe = yaml.safe_load((bench / "recipe.yaml").read_text()) | {"name": name, "tune": FULL}
    recipe |= {"out": str(bench / "runs"), "predict": {"max_new_tokens": 8}}
    recipe["train"] |= {"epochs": 2, "augment": "none", "learning_rate": 1e-3} | train
    path = bench / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_the_tower_draws_near_to_a_teacher_that_looks_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = build_bench(tmp_path, images=12)
    build_teacher(bench / "teacher")
    distill = {"teacher": str(bench / "teacher"), "weight": 2.0}
    assert call_residency("train", write_recipe(bench, "first", distill=distill)) == 0
    run = bench / "runs" / "first"
    lines = read_metrics(run)
    apart = [line["loss_distill"] for line in lines if "loss_distill" in line]
    assert np.mean(apart[-2:]) < np.mean(apart[:2]) - 0.05
    losses = [
        (line["loss"], line["loss_caption"] + 2 * line["loss_distill"]) for line in lines if "loss_distill" in line
    ]
    assert all(whole == pytest.approx(parts, rel=1e-3) for whole, parts in losses)
    kept = sorted((bench / "runs" / "teacher").rglob("*.safetensors"))
    assert len(kept) == 7  # the training split's images, no other's
    assert {tuple(load_file(path)["features"].shape) for path in kept} == {(48, 2, 2)}
    assert not [name for name in load_file(run / "adapter" / "adapter_model.safetensors") if "distill" in name]
    made = [path.stat().st_mtime_ns for path in kept]
    assert call_residency("train", write_recipe(bench, "second", distill=distill, augment="grey", epochs=1)) == 0
    assert sorted((bench / "runs" / "teacher").rglob("*.safetensors")) == kept
    assert [path.stat().st_mtime_ns for path in kept] == made
    capsys.readouterr()
    wrong = write_recipe(bench, "third", distill=distill | {"teacher": str(bench / "data")}, augment="ultrasound")
    assert call_residency("train", wrong, "tune.train=[projector]") == 2
    told = capsys.readouterr().err
    assert "nothing of the tower trains" in told
    assert "ultrasound moves what the teacher saw" in told
    assert call_residency("train", wrong, "train.augment=none") == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_teacher_sees_the_picture_that_the_student_sees(tmp_path: Path) -> None:
    build_bench(tmp_path, images=1)
    build_teacher(tmp_path / "teacher")
    opened = open_model(str(tmp_path / "model"))
    teacher = Teacher(str(tmp_path / "teacher"), torch.device("cpu"), tmp_path / "kept")
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = Image.fromarray(
        np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 9, np.uint8)], -1)
    )
    pixels = opened.loaded.processor.image_processor([picture], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        ours = teacher._look(pixels, opened.loaded)
        own = teacher.processor([picture], return_tensors="pt")["pixel_values"]
        theirs = map_features(teacher.model(own).last_hidden_state)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.99
    assert ours.shape == (1, 48, 4, 4)
