"""Small findings on large simulated pictures: tiles against plain resizing, by the installed command.

Speckle with echogenic foci, 1 to 2% of the picture's width, on pictures 3840 and 7680 px wide. `nano` is tuned on tiles
of pictures 3840 px wide (`residency tile`), and, for plain resizing, as long on whole pictures. A focus is found where
the middle of a told box lies within it, each focus by one box; F1 at IoU 0.5 stands beside. The least sureness at which
validation reaches a precision of 0.85 is applied to the test pictures.

    python benchmarks/highres.py scratch/highres
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from residency.data.dataset import Dataset, load_dataset, write_dataset
from residency.data.places import tell_places
from residency.data.told import boxes_of, read_told
from residency.files import read_lines, sha256_file
from residency.types import Box, Fold, Prediction, Question, Questionnaire, Sample, Splits

QUESTION = Question(id="foci", type="text", wording="<OD>")
ASKED = Questionnaire(name="foci", questions=(QUESTION,))
LABEL = "focus"
WANTED = 0.85
ASPECT = 0.75


@dataclass(frozen=True)
class Told:
    """A told box: how sure, and whether it found a focus of its own."""

    sure: float
    hit: bool


def draw_picture(rng: np.random.Generator, width: int) -> tuple[Image.Image, list[Box]]:
    """Return a picture and its foci: log-compressed speckle whose grain, bands and clutter scale with the width."""
    grain = width / 640  # a speckle is as large a share of every picture
    small = (round(width * ASPECT / grain * 2), round(width / grain * 2))
    height = round(width * ASPECT)
    scene = np.full(small, 0.25, np.float32)
    scene *= np.exp(0.5 * gaussian_filter(rng.normal(size=small), 60, mode="wrap") * 60).astype(np.float32)
    y, x = np.mgrid[: small[0], : small[1]].astype(np.float32)
    scale = small[1] / width
    for _ in range(int(rng.integers(3, 7))):  # interfaces: long, bright, no finding
        angle, offset = rng.uniform(-0.5, 0.5), rng.uniform(0, small[0])
        away = (y - offset - x * np.tan(angle) - 12 * np.sin(x / 90 + angle * 9)) / rng.uniform(3, 6)
        scene += 0.9 * np.exp(-(away**2))
    boxes: list[Box] = []
    for _ in range(int(rng.integers(4, 11))):
        across, down = width * rng.uniform(0.010, 0.020), width * rng.uniform(0.010, 0.020)
        cx, cy = rng.uniform(across, width - across), rng.uniform(down, height - down)
        if any(np.hypot(cx - b.xyxy[0], cy - b.xyxy[1]) < 0.05 * width for b in boxes):
            continue
        within = ((x / scale - cx) / (across / 2)) ** 2 + ((y / scale - cy) / (down / 2)) ** 2
        scene = np.where(within < 1, scene + rng.uniform(1.6, 2.4), scene)
        shadow = (np.abs(x / scale - cx) < across / 2) & (y / scale > cy + down / 2) & (y / scale < cy + 4 * down)
        scene = np.where(shadow, scene * 0.5, scene)
        boxes.append(Box(label=LABEL, xyxy=(cx - across / 2, cy - down / 2, cx + across / 2, cy + down / 2)))
    for _ in range(int(rng.integers(20, 40))):  # bright clumps too small to count
        cx, cy, r = rng.uniform(0, small[1]), rng.uniform(0, small[0]), scale * width * rng.uniform(0.001, 0.0025)
        scene += 1.2 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r * r))
    field = rng.normal(size=(2, *small)).astype(np.float32)
    speckle = np.hypot(*(gaussian_filter(part, 1.0) for part in field))
    decibels = 20 * np.log10(np.maximum(scene * speckle / speckle.mean(), 1e-3))
    grey = np.clip((decibels + 34) / 46, 0, 1)
    image = Image.fromarray((255 * grey).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return image, boxes


def write_pictures(folder: Path, counts: dict[str, int], width: int, seed: int, kept_width: int | None = None) -> None:
    """Write a dataset of pictures, each a patient; `kept_width`: how wide they are written, if not as drawn."""
    if (folder / "samples.jsonl").is_file():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, width])
    samples, groups = [], {name: [] for name in ("train", "val", "test")}
    for split, count in counts.items():
        for number in range(count):
            image, boxes = draw_picture(rng, width)
            path, group = folder / "images" / f"{split}-{number:03d}.png", f"{split}-{number:03d}"
            by = (kept_width or width) / width
            boxes = [box.model_copy(update={"xyxy": tuple(v * by for v in box.xyxy)}) for box in boxes]
            size = (kept_width or width, round((kept_width or width) * ASPECT))
            image.resize(size, Image.Resampling.BOX).save(path, compress_level=1)
            text = tell_places(boxes, [], size, labelled=True)
            groups[split].append(group)
            samples.append(
                Sample(
                    id=group, image=f"images/{path.name}", prefix=QUESTION.wording, suffix=text, answer=text,
                    group=group, question=QUESTION.id, boxes=tuple(boxes), sha256=sha256_file(path),
                )
            )  # fmt: skip
    fold = Fold(**{name: tuple(found) for name, found in groups.items()})
    write_dataset(Dataset(folder, tuple(samples), ASKED, Splits(seed=seed, method="simulated", folds=(fold,))))


def command(*words: object) -> float:
    """Give the installed command; returns its seconds."""
    began = perf_counter()
    line = [str(Path(sys.executable).with_name("residency")), *map(str, words)]
    print("$ residency", *map(str, words), flush=True)
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began


def match(predictions: list[Prediction], samples: dict[str, Sample], sizes: dict[str, tuple[int, int]]) -> list[Told]:
    """Return every told box, the surest first, with whether its middle lies within a focus no surer box has found."""
    told = []
    for made in predictions:
        runs = read_told(made.prediction)
        sures = made.box_scores if len(made.box_scores) == len(runs) else [np.log(made.confidence or 1e-6)] * len(runs)
        boxes = [(s, b) for run, s in zip(runs, sures, strict=True) for b in boxes_of(run, sizes[made.id])]
        free = list(samples[made.id].boxes)
        for sure, box in sorted(boxes, key=lambda one: -one[0]):
            cx, cy = (box.xyxy[0] + box.xyxy[2]) / 2, (box.xyxy[1] + box.xyxy[3]) / 2
            inside = [b for b in free if b.xyxy[0] <= cx <= b.xyxy[2] and b.xyxy[1] <= cy <= b.xyxy[3]]
            if inside:
                free.remove(inside[0])
            told.append(Told(float(sure), bool(inside)))
    return sorted(told, key=lambda one: -one.sure)


def choose_cut(told: list[Told], wanted: float = WANTED) -> float:
    """Return the least sureness from which on the told boxes reach the wanted precision (the surest box's if none)."""
    hits = np.cumsum([one.hit for one in told])
    good = [one.sure for n, one in enumerate(told, 1) if hits[n - 1] / n >= wanted]
    return min(good, default=told[0].sure if told else 0.0)


def read_figures(folder: Path, data: Path, cut: float) -> dict[str, float]:
    """Return recall and precision from a sureness on, the best recall at precision 0.8, and seconds a picture."""
    samples = {sample.id: sample for sample in load_dataset(data).samples}
    predictions = read_lines(folder / "test.own.jsonl", Prediction)
    sizes = {made.id: Image.open(data / samples[made.id].image).size for made in predictions}
    told = match(predictions, samples, sizes)
    true = sum(len(samples[made.id].boxes) for made in predictions)
    given = [one for one in told if one.sure >= cut]
    hits = np.cumsum([one.hit for one in told]) if told else np.zeros(1)
    curve = [hits[n - 1] / true for n in range(1, len(told) + 1) if hits[n - 1] / n >= 0.8]
    return {
        "foci": true,
        "recall": sum(one.hit for one in given) / true,
        "precision": sum(one.hit for one in given) / len(given) if given else float("nan"),
        "best recall at precision 0.8": max(curve, default=0.0),
        "seconds a picture": float(np.mean([made.seconds for made in predictions])),
    }


def cut_of(folder: Path, data: Path) -> float:
    samples = {sample.id: sample for sample in load_dataset(data).samples}
    predictions = read_lines(folder / "val.own.jsonl", Prediction)
    sizes = {made.id: Image.open(data / samples[made.id].image).size for made in predictions}
    return choose_cut(match(predictions, samples, sizes))


def write_recipe(path: Path, name: str, data: Path, out: Path, epochs: int) -> None:
    # The tower stays as it is and sees each picture once; tuned in full it forgot to look within 200 steps.
    settings = {"epochs": epochs, "batch_size": 32, "questions_per_image": 1, "learning_rate": 1e-3, "patience": 99}
    settings |= {"location_spread": 10.0, "balance": "none", "save_steps": 500, "augment": "none"}
    recipe = {
        "name": name, "data": str(data), "out": str(out), "model": "nano", "questions": [QUESTION.id],
        "tune": {"lora": None, "train": ["projector", "language"]}, "train": settings,
        "predict": {"max_new_tokens": 64},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(recipe))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--test", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--across", type=int, default=12, help="Tiles of a twelfth of the width.")
    parser.add_argument("--widths", type=int, nargs="+", default=[3840, 7680])
    asked = parser.parse_args()
    out, rows = asked.out, {}
    counts = {"train": asked.train, "val": 4, "test": asked.test}
    write_pictures(out / "w3840", counts, 3840, 0)
    if not (out / "tiles").is_dir():
        command("tile", out / "w3840", "--out", out / "tiles", "--side", 3840 // asked.across)
    # As many whole pictures as there are tiles would take hours to draw: as many steps, on four times the pictures.
    write_pictures(out / "whole", {"train": 4 * asked.train, "val": 4, "test": 1}, 1920, 1, kept_width=960)
    tiles = len(load_dataset(out / "tiles").split("train"))
    for name, data, epochs in (
        ("tiled", out / "tiles", asked.epochs),
        ("resized", out / "whole", max(1, round(asked.epochs * tiles / (4 * asked.train)))),
    ):
        write_recipe(out / f"{name}.yaml", name, data, out / "runs", epochs)
        if not (out / "runs" / name / "adapter").is_dir():
            rows[f"train {name}"] = {"seconds": command("train", out / f"{name}.yaml")}
    for width in asked.widths:
        data = out / f"w{width}"
        write_pictures(data, {"train": 1, "val": 3, "test": asked.test} if width != 3840 else counts, width, 0)
        side = width // asked.across
        for name, run, keys in (
            (f"{width} resized", "resized", []),
            (f"{width} resized, tuned on tiles", "tiled", []),
            (f"{width} tiles", "tiled", [f"predict.tiles.side={side}", "predict.tiles.overlap=0.25"]),
        ):
            folder = out / "answers" / name.replace(" ", "-").replace(",", "")
            for split in ("val", "test"):
                given = (out / "runs" / run, *keys, "--data", data, "--split", split, "--as", "own", "--out", folder)
                command("predict", *given)
            inner = next(path.parent for path in folder.rglob("test.own.jsonl"))
            rows[name] = read_figures(inner, data, cut_of(inner, data))
            print(name, json.dumps({key: round(float(value), 3) for key, value in rows[name].items()}), flush=True)
    (out / "highres.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
