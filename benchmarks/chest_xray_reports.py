"""The shared chest X-rays in, a report folder out: images/, and lines of captions, reports and lung boxes by split.

    python benchmarks/chest_xray_reports.py OUT [--source ../shared/data/chest_xray]

Patients are dealt to train, val and test. Findings that the manifest leaves open ("todo") are not put in words. The
manifest's boxes are in the original's pixels; `scale` takes them to the file's.
"""

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from residency.data.split import RATIOS, deal_groups
from residency.types import SPLITS

SHARED = Path(__file__).parents[2] / "shared" / "data" / "chest_xray"
UNKNOWN = ("", "todo")


def write_reports(source: Path, out: Path, seed: int = 0) -> dict[str, int]:
    """Write the report folder; return how many images each split holds."""
    items = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    (out / "images").mkdir(parents=True)
    patients: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"x|annotated": 0})
    for item in items:
        patients[item["patientid"]]["x|annotated"] += 1
        shutil.copyfile(source / item["image"], out / "images" / item["image"])
    dealt = deal_groups(patients, RATIOS, np.random.default_rng(seed))
    counts = {}
    for split, chosen in zip(SPLITS, dealt, strict=True):
        held = [item for item in items if item["patientid"] in chosen]
        short = [line for item in held for line in (_line(item, "<CAPTION>"), _line(item, "<OD>"))]
        _write(out / f"{split}.jsonl", short)
        _write(out / f"{split}_detailed_caption.jsonl", [_line(item, "<DETAILED_CAPTION>") for item in held])
        counts[split] = len(held)
    return counts


def _line(item: dict[str, Any], prefix: str) -> dict[str, str]:
    words = {"<CAPTION>": caption, "<DETAILED_CAPTION>": report, "<OD>": locate}[prefix]
    return {"image": item["image"], "prefix": prefix, "suffix": words(item), "patient": item["patientid"]}


def caption(item: dict[str, Any]) -> str:
    """Return one sentence: the view, and the finding where it is known."""
    finding = "" if item["finding"] in UNKNOWN else f", {item['finding']}"
    return f"Chest X-ray, {item['view']} view{finding}."


def report(item: dict[str, Any]) -> str:
    """Return the caption, how large the lungs stand in the picture, and the clinical note where there is one."""
    lungs = [f"{box['category']} {_extent(item, box)}" for box in sorted(item["boxes"], key=lambda b: b["category"])]
    notes = " ".join(item["clinical_notes"].split())
    return " ".join(filter(None, [caption(item), f"In the picture the {' and the '.join(lungs)}.", notes]))


def _extent(item: dict[str, Any], box: dict[str, Any]) -> str:
    height = box["bbox"][3] / item["size"][1]
    return f"takes {'more' if height > 0.7 else 'less'} than 70% of the height"


def locate(item: dict[str, Any]) -> str:
    """Return the lung boxes in location tokens, 0 to 999 of the picture's sides."""
    width, height = item["size"]
    words = []
    for box in item["boxes"]:
        x, y, w, h = box["bbox"]
        places = (x / width, y / height, (x + w) / width, (y + h) / height)
        tokens = "".join(f"<loc_{min(999, max(0, int(place * 1000)))}>" for place in places)
        words.append(box["category"] + tokens)
    return "".join(words)


def _write(path: Path, lines: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, default=SHARED)
    options = parser.parse_args()
    counts = write_reports(options.source, options.out)
    print(f"wrote {options.out}: {counts}")
    print(f"next: residency ingest --images {options.out} --group-by column:patient --out DATASET")


if __name__ == "__main__":
    main()
