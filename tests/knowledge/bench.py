"""A folder in; a tiny model, discs of which two lie in each group, documents and a recipe that retrieves out."""

import json
from pathlib import Path

import yaml

from residency.data.dataset import Dataset, write_dataset
from residency.types import Sample
from tests.contract.tiny import build_tiny_nano
from tests.discs import QUESTIONNAIRE, cut_groups, disc_samples


def build_bench(folder: Path, images: int = 24) -> Path:
    """Make model, data (pictures 0 and 12, 1 and 13 ... share a group, and their looks), documents, recipe."""
    build_tiny_nano(folder / "model")
    samples = tuple(
        sample.model_copy(update={"group": f"O'Neil {number % (images // 2)}"})
        for sample in disc_samples(folder / "images", images)
        for number in [int(sample.group.removeprefix("p"))]
    )
    write_dataset(Dataset(folder / "data", samples, QUESTIONNAIRE, cut_groups(samples)))
    write_documents(folder / "documents")
    recipe = {
        "name": "told",
        "data": str(folder / "data"),
        "out": str(folder / "runs"),
        "model": str(folder / "model"),
        "tune": {"lora": None, "train": ["projector", "language"]},
        "train": {"epochs": 1, "batch_size": 8, "questions_per_image": 2, "patience": 10},
        "retrieval": {"k": 2},
        "evaluate": {"draws": 200},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def write_documents(folder: Path) -> None:
    """Write a guideline, PubMedQA's two layouts and JSON lines."""
    folder.mkdir()
    (folder / "guideline.md").write_text("# Discs\n\nA large disc is followed up.\n\n" + "Small ones are left. " * 60)
    official = {
        "123": {"QUESTION": "Is a bright disc harmless?", "CONTEXTS": ["Sixty discs."], "LONG_ANSWER": "It is."}
    }
    (folder / "ori_pqal.json").write_text(json.dumps(official))
    hub = {"pubid": 7, "question": "Do rings heal?", "context": {"contexts": ["Ten rings."]}, "long_answer": "Slowly."}
    (folder / "notes.jsonl").write_text(json.dumps(hub) + "\n" + json.dumps({"text": "Squares are rare."}) + "\n")


def training_samples(folder: Path) -> list[Sample]:
    """Return the training split as an index holds it."""
    from residency.data.dataset import load_dataset

    return load_dataset(folder / "data").split("train")
