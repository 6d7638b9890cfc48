"""Configurations of public Florence-2 scripts: their keys in, the equivalent recipe as YAML out."""

from collections.abc import Mapping
from typing import Any

import yaml

# Keys of public Florence-2 fine-tuning scripts and what they are called in a recipe (None: gone, with a reason).
FOREIGN_KEYS: dict[str, str] = {
    "train_json": "data",
    "val_json": "data",
    "test_json": "data",
    "train_jsonl": "data",
    "val_jsonl": "data",
    "image_dir": "data",
    "images_dir": "data",
    "dataset_path": "data",
    "model_name": "model",
    "model_id": "model",
    "model_path": "model",
    "output_dir": "out",
    "num_epochs": "train.epochs",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.accumulate",
    "learning_rate": "train.learning_rate",
    "lr": "train.learning_rate",
    "weight_decay": "train.weight_decay",
    "warmup_ratio": "train.warmup",
    "seed": "train.seed",
    "fp16": "train.precision",
    "bf16": "train.precision",
    "mixed_precision": "train.precision",
    "early_stopping_patience": "train.patience",
    "save_steps": "train.save_steps",
    "max_new_tokens": "predict.max_new_tokens",
    "lora_r": "tune.lora.rank",
    "lora_rank": "tune.lora.rank",
    "lora_alpha": "tune.lora.alpha",
    "lora_dropout": "tune.lora.dropout",
    "lora_target_modules": "tune.lora.targets",
    "freeze_vision_tower": "tune.train",
    "freeze_vision": "tune.train",
}


def translate_foreign(values: Mapping[str, Any]) -> str:
    """Return the recipe that says what a public Florence-2 script's configuration says, as YAML."""
    recipe: dict[str, Any] = {"name": "translated", "data": "DATASET"}
    notes = []
    for key, value in values.items():
        target = FOREIGN_KEYS.get(key)
        if target == "data":
            continue
        if target is None:
            notes.append(f"# {key}: {value}  (no such setting here)")
        elif target == "tune.train":
            put_key(recipe, target, ["projector"] if value else ["vision", "projector"])
        elif target == "train.precision":
            put_key(recipe, target, value if isinstance(value, str) else (key if value else "fp32"))
        else:
            put_key(recipe, target, value)
    sources = {key: str(values[key]) for key in values if FOREIGN_KEYS.get(key) == "data"}
    images = next((path for key, path in sources.items() if key.startswith("image")), "images")
    sheet = next((path for key, path in sources.items() if not key.startswith("image")), "train.jsonl")
    first = f"# first: residency ingest --sheet {sheet} --images {images} --group-by column:patient --out DATASET\n"
    return first + yaml.safe_dump(recipe, sort_keys=False) + "\n".join(notes)


def put_key(values: dict[str, Any], dotted: str, value: object) -> None:
    """Set a dotted key in nested mappings; those on the way are copied, and made where there are none."""
    *sections, last = dotted.split(".")
    for section in sections:
        inner = values.get(section)
        values[section] = inner = dict(inner) if isinstance(inner, dict) else {}
        values = inner
    values[last] = value
