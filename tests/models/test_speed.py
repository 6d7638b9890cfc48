"""What is computed once instead of several times changes no loss and no answer; each way on against off, by command."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from residency.config import Speed
from residency.data.batches import ImageBatches
from residency.models.registry import open_model
from residency.types import Sample
from tests.contract.tiny import build_tiny_florence2
from tests.contract.tiny_causal import build_tiny_llava
from tests.curves import read_metrics
from tests.discs import build_bench
from tests.run_command import call_residency

BUILDERS: dict[str, Callable[[Path], None] | None] = {
    "nano": None,
    "florence2": build_tiny_florence2,
    "llava": build_tiny_llava,
}
FROZEN = {"lora": {"dropout": 0.0}, "train": ["projector"]}
OFF = {"share_image": False, "at_once": False, "labels_only": False}


def train(folder: Path, name: str, **named: Any) -> Path:
    """Train and examine one run of the bench by the command; return its folder."""
    values = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"name": name, "out": str(folder / "runs")}
    values |= {"predict": {"max_new_tokens": 8}}
    changes = named.pop("train", {})
    values |= named
    values["train"] = values["train"] | {"epochs": 1, "augment": "none"} | changes
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    assert call_residency("train", folder / f"{name}.yaml") == 0
    return folder / "runs" / name


def losses_of(run: Path) -> list[float]:
    return [line[key] for line in read_metrics(run) for key in ("loss", "eval_loss") if key in line]


def answers_of(run: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (run / "predictions" / "test.own.jsonl").read_text().splitlines()]
    return [(line["id"], line["prediction"]) for line in lines]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_way_off_trains_and_answers_as_on(name: str, tmp_path: Path) -> None:
    folder = build_bench(tmp_path, images=8)
    if build := BUILDERS[name]:
        build(folder / "model")
    on = train(folder, "on", tune=FROZEN)
    off = train(folder, "off", tune=FROZEN, speed=OFF, train={"cache_features": False})
    assert losses_of(on) == pytest.approx(losses_of(off), abs=1e-4)
    assert answers_of(on) == answers_of(off)


@pytest.mark.parametrize("name", ["nano", "llava"])
def test_a_frozen_tower_sees_each_image_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all epochs, of training and of validation images: 5 + 1 of the bench's 8; none is kept when it is done."""
    folder = build_bench(tmp_path, images=8)
    if build := BUILDERS[name]:
        build(folder / "model")
    opened = open_model(str(folder / "model"))
    seen: list[int] = []
    look = type(opened.family).look

    def count(family: Any, loaded: Any, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels) if loaded.kept else 0)  # from the first step on; not the preflight, nor the exam
        return look(family, loaded, pixels)

    monkeypatch.setattr(type(opened.family), "look", count)
    kept = {"epochs": 2, "cache_features": True}
    run = train(folder, "kept", tune=FROZEN, train=kept, speed={"by_length": True})
    assert losses_of(run)
    images = {json.loads(line)["image"] for line in (folder / "data" / "samples.jsonl").read_text().splitlines()}
    tested = {line[0].split("-")[0] for line in answers_of(run)}
    assert sum(seen) == len(images) - len(tested)
    assert not (run / "features").exists()


def test_features_of_a_tower_that_trains_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_bench(tmp_path, images=8)
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    values["train"] |= {"cache_features": True, "augment": "grey"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert call_residency("train", folder / "recipe.yaml", f"out={tmp_path}") == 2
    told = capsys.readouterr().err
    assert "vision trains" in told
    assert "augment: grey" in told


def test_batches_by_length_hold_the_same_draws_and_less_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = {number: int(length) for number, length in enumerate(rng.integers(1, 60, 200))}
    samples = [
        Sample(id=f"{n}-{q}", image=f"{n}.png", prefix="?", suffix="x" * length, group=f"{n}")
        for n, length in lengths.items()
        for q in range(4)
    ]
    settings: dict[str, Any] = {"batch_size": 16, "questions_per_image": 4, "balance": "none", "seed": 3}
    mixed, like = (list(ImageBatches(samples, **settings, by_length=sort)) for sort in (False, True))
    assert len(mixed) == len(like)
    assert Counter(draw.row for batch in mixed for draw in batch) == Counter(draw.row for b in like for draw in b)
    assert like == list(ImageBatches(samples, **settings, by_length=True))
    padded = [
        sum(len(b) * max(len(samples[draw.row].suffix or "") for draw in b) for b in way) for way in (mixed, like)
    ]
    told = sum(len(sample.suffix or "") for sample in samples)
    assert padded[1] < 1.1 * told < 1.3 * told < padded[0]
    firsts = [len(samples[batch[0].row].suffix or "") for batch in like]
    assert firsts != sorted(firsts)  # short ones do not all come first


def test_each_way_can_be_switched_off() -> None:
    assert set(Speed.model_fields) == {*OFF, "by_length"}
