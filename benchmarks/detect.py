"""Boxes told in words against a classic detector: a folder of Pascal VOC in, one table with intervals out.

    make detect-env
    nice -n 5 python benchmarks/detect.py ../shared/data/blood_cells --out scratch/detect

Ingests the pictures, tunes nano by `recipes/blood-cells-nano.yaml` (its training pictures mirrored), trains YOLOv8n
from scratch on the same training split in `.venv-detect` (ultralytics, AGPL-3.0: it is no part of Residency), writes
what it finds as `predictions/test.detector.jsonl` of the run, and scores both by `residency evaluate`. Steps whose
files are there are not done again. `--labels` keeps some labels alone.
"""

import argparse
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from detect_layout import choose_cut, read_found, write_yolo
from detect_mirror import mirror_training
from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.ingest import ingest
from residency.data.places import tell_places
from residency.evaluate.examine import evaluate_run
from residency.evaluate.places import picture_size
from residency.exam import predict_run
from residency.files import write_lines
from residency.recipe import load_recipe
from residency.report.places import show_places
from residency.train import train_run
from residency.types import Sample

ROOT = Path(__file__).parents[1]
DETECTOR = "yolov8n from scratch"


def main() -> None:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", nargs="*", help="only these labels' boxes are asked for")
    parser.add_argument("--epochs", type=int, default=6, help="nano's, over four times as many pictures")
    parser.add_argument("--yolo-epochs", type=int, default=60)
    parser.add_argument("--found", type=Path, help="a folder with a detector's val.jsonl and test.jsonl, made before")
    asked = parser.parse_args()
    if not (asked.out / "dataset" / "samples.jsonl").is_file():
        ingest(None, asked.images, None, asked.out / "dataset", "image", skip_bad=True)
    dataset = keep_labels(load_dataset(asked.out / "dataset"), asked.out, asked.labels)
    named = write_yolo(dataset, asked.out / "yolo")
    found = asked.found or find_boxes(asked.out, asked.yolo_epochs)
    run = tune_nano(dataset, asked.out, asked.epochs)
    cut = choose_cut(dataset, found / "val.jsonl", named)
    made = read_found(found / "test.jsonl", dataset, named, DETECTOR, "test", cut=cut)
    write_lines(run / "predictions" / "test.detector.jsonl", made)
    print(f"{DETECTOR}: answers are boxes of confidence {cut:.2f} and more, the best on validation\n")
    for told in show_places(evaluate_run(run)):
        print(f"| | label | images | {' | '.join(told.metrics)} |\n|---|---|---|{'---|' * len(told.metrics)}")
        for who, label, images, cells in told.rows:
            print(f"| {who} | {label} | {images} | {' | '.join(cells)} |")


def keep_labels(dataset: Dataset, out: Path, labels: list[str] | None) -> Dataset:
    """Return the dataset with the boxes of these labels alone, in a folder of its own; pictures without any are left
    out."""
    if not labels:
        return dataset
    kept = [_keep(dataset, sample, labels, out / "some") for sample in dataset.samples]
    write_dataset(replace(dataset, folder=out / "some", samples=tuple(sample for sample in kept if sample.boxes)))
    return load_dataset(out / "some")


def _keep(dataset: Dataset, sample: Sample, labels: list[str], folder: Path) -> Sample:
    boxes = tuple(box for box in sample.boxes if box.label in labels)
    text = tell_places(boxes, (), picture_size(dataset.image_path(sample)), True)
    image = os.path.relpath(dataset.image_path(sample), folder)
    return sample.model_copy(update={"boxes": boxes, "suffix": text, "answer": text, "image": image})


def find_boxes(out: Path, epochs: int) -> Path:
    """Train the detector in its own environment and return the folder of what it found."""
    python = ROOT / ".venv-detect" / "bin" / "python"
    if not python.is_file():
        raise SystemExit("no .venv-detect: make detect-env")
    if not (out / "found" / "test.jsonl").is_file():
        script = ROOT / "benchmarks" / "detect_yolo.py"
        command = [str(python), str(script), str(out / "yolo"), str(out / "found"), "--epochs", str(epochs)]
        subprocess.run(command, check=True)
    return out / "found"


def tune_nano(dataset: Dataset, out: Path, epochs: int) -> Path:
    """Tune nano on mirrored pictures, answer the test split as tuned, as the base and blind; return the run."""
    mirrored = out / "mirrored"
    if not (mirrored / "samples.jsonl").is_file():
        mirror_training(dataset, mirrored)
    shipped = load_recipe(ROOT / "recipes" / "blood-cells-nano.yaml")
    train = shipped.train.model_copy(update={"epochs": epochs, "patience": epochs})
    recipe = shipped.model_copy(update={"data": mirrored, "out": out / "runs", "train": train})
    run = out / "runs" / recipe.name
    if not (run / "adapter").exists():
        train_run(recipe, run, 0, print)
    predict_run(run, modes=("own", "base", "blind"), floors=False)
    return run


if __name__ == "__main__":
    main()
