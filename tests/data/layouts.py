"""A folder in, small layouts as docs/sources.md calls them out: drawn pictures and made-up answers, no real data."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data.make import draw_image

NAMES = "abcd"


def write_layouts(folder: Path) -> None:
    """Write every layout that docs/sources.md names into one folder."""
    for place in ("vqa_rad/images", "flan/images", "blood_cells/JPEGImages", "coco/images", "studio/images"):
        _draw(folder / place)
    for place in ("xray", "skin", "yolo/images"):
        _draw(folder / place)
    for write in _WRITERS:
        write(folder)


def _draw(folder: Path) -> None:
    for number, name in enumerate(NAMES):
        draw_image(folder / f"{name}.png", seed=number)


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _text(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _vqa_rad(folder: Path) -> None:
    records = [
        {"qid": n, "image_name": f"{name}.png", "question": "Is it dark?", "answer": "yes", "phrase_type": "freeform"}
        for n, name in enumerate(NAMES)
    ]
    _json(folder / "vqa_rad" / "public.json", records)


def _slake(folder: Path) -> None:
    for lab, split in enumerate(("train", "validate", "test")):
        draw_image(folder / "Slake1.0" / "imgs" / f"xmlab{lab}" / "source.jpg", seed=lab)
        record = {"img_name": f"xmlab{lab}/source.jpg", "question": "模态？", "answer": "核磁共振", "q_lang": "zh"}
        _json(folder / "Slake1.0" / f"{split}.json", [record])


def _pictures(count: int, first: int) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for seed in range(first, first + count):
        file = io.BytesIO()
        grey = np.random.default_rng(seed).integers(0, 255, (6, 6)).astype(np.uint8)
        Image.fromarray(grey).resize((48, 48)).save(file, "PNG")
        made.append({"bytes": file.getvalue(), "path": None})
    return made


def _parquet(folder: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        images = _pictures(2, 10 * number)
        for name, columns in {
            "path-vqa": {"question": ["What is it?", "Is it?"], "answer": ["a cell", "yes"]},
            "hub": {"caption": ["a cell", "a nerve"]},
        }.items():
            path = folder / name / "data" / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"image": images, **columns}), path)


def _flan(folder: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "a blot"}]
    _json(folder / "flan" / "train.json", [{"image": f"{name}.png", "conversations": turns} for name in NAMES])


def _boxes(folder: Path) -> None:
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (10, 10, 40, 40), strict=True))
    box = "".join(f"<{side}>{value}</{side}>" for side, value in corners.items())
    for name in NAMES:
        thing = f"<object><name>cell</name><bndbox>{box}</bndbox></object>"
        xml = f"<annotation><filename>{name}.png</filename>{thing}</annotation>"
        _text(folder / "blood_cells" / "Annotations" / f"{name}.xml", xml)
        _text(folder / "yolo" / "labels" / f"{name}.txt", "0 0.5 0.5 0.2 0.2")
    _text(folder / "yolo" / "data.yaml", "names: [cell]")
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate(NAMES)]
    known = {"category_id": 1, "bbox": [10, 10, 30, 30], "segmentation": [[10, 10, 40, 10, 40, 40]]}
    annotations = [{"image_id": number, **known} for number in range(len(NAMES))]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    _json(folder / "coco" / "annotations" / "all.json", coco)


def _masks(folder: Path) -> None:
    for number in range(4):
        draw_image(folder / "fetal_head" / "image" / f"{number:03d}_HC.png", seed=number)
        mask = np.zeros((96, 96), np.uint8)
        mask[20:70, 30:80] = 255
        path = folder / "fetal_head" / "annotation" / f"{number:03d}_HC_Annotation.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)


def _tables(folder: Path) -> None:
    labels = ("Cardiomegaly|Hernia", "No Finding", "Hernia", "Hernia")
    rows = [f"{name}.png,{label},{n}" for n, (name, label) in enumerate(zip(NAMES, labels, strict=True))]
    _text(folder / "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID", *rows)
    _text(folder / "skin.csv", "image_id,dx", "a,nv", "b,mel", "c,nv", "d,nv")
    notes = [f"{n},{n},No effusion. PPM seen.,{name}.png" for n, name in enumerate(NAMES)]
    _text(folder / "NOTEEVENTS.csv", "ROW_ID,SUBJECT_ID,TEXT,image", *notes)
    for n in range(4):
        _text(folder / "mimic" / f"p1{n}" / f"s5{n}.txt", " FINDINGS: Clear.", " IMPRESSION: Normal.")
        draw_image(folder / "mimic" / f"p1{n}" / f"s5{n}" / "view.jpg", seed=n)


def _studio(folder: Path) -> None:
    def task(name: str, plane: str) -> dict[str, object]:
        result = {"from_name": "plane", "to_name": "img", "type": "choices", "value": {"choices": [plane]}}
        return {"data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"}, "annotations": [{"result": [result]}]}

    planes = ("brain", "femur", "brain", "femur")
    _json(folder / "studio" / "export.json", [task(*pair) for pair in zip(NAMES, planes, strict=True)])


def _listed(folder: Path) -> None:
    boxes = [{"image_filename": f"{name}.png", "label": "femur", "bbox": [4, 6, 40, 30]} for name in NAMES]
    _json(folder / "boxes.json", boxes)
    rows = [f"{name}.png,P{n},longitudinal view of femur" for n, name in enumerate(NAMES)]
    _text(folder / "planes.csv", "Image,Patient,Plane Evaluation", *rows)


_WRITERS: tuple[Callable[[Path], None], ...] = (
    _vqa_rad, _slake, _parquet, _flan, _boxes, _listed, _masks, _tables, _studio,
)  # fmt: skip
