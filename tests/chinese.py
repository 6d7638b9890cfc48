"""Drawn tongues and herbal drugs with their Chinese answer sheets: real files, no real data; all drawn by seed."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.data.make import write_book

BODIES = {"淡红舌": (215, 130, 130), "淡白舌": (230, 190, 185), "红舌": (205, 60, 65), "绛舌": (130, 20, 40)}
COATS = {"白苔": (240, 236, 225), "黄苔": (225, 195, 90)}
HERBS = {"枸杞": ("果实", (190, 40, 30)), "菊花": ("花", (235, 215, 120)), "甘草": ("根", (200, 165, 90))}
TONGUE_HEADS = ("图像", "患者", "医师", "舌色", "舌形", "苔色", "苔质", "润燥")
SIDE = 96


def draw_tongues(folder: Path, patients: int, images: int = 2, bad: Sequence[Sequence[object]] = ()) -> Path:
    """Draw tongues and write `舌象.xlsx`, its answers in the wordings of busy people; return the sheet."""
    rng = np.random.default_rng(0)
    rows: list[Sequence[object]] = [TONGUE_HEADS]
    (folder / "images").mkdir(parents=True)
    for number in range(patients * images):
        body, coat = [*BODIES][number % len(BODIES)], [*COATS][int(rng.integers(2))]
        wide, thick, wet = (bool(rng.integers(2)) for _ in range(3))
        name = f"舌{number:03d}.png"
        _draw_tongue(BODIES[body], COATS[coat], wide, thick, wet, rng).save(folder / "images" / name)
        shape = "胖大、齿痕" if wide else "瘦薄"
        told = (body.removesuffix("舌") if number % 3 else f" {body}。", shape, coat, "厚" if thick else "薄苔")
        rows.append((name, f"患者{number // images:02d}", "王医师", *told, "水滑" if wet else "燥"))
    return write_book(folder / "舌象.xlsx", {"舌诊": [*rows, *bad]})


def draw_herbs(folder: Path, batches: int) -> Path:
    """Draw heaps of herbal drugs and write `饮片.csv`; return the sheet."""
    rng = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    rows: list[Sequence[object]] = [("图像", "批号", "药名", "药用部位", "瑕疵", "质量")]
    for number in range(batches):
        herb = [*HERBS][number % len(HERBS)]
        part, colour = HERBS[herb]
        mould = bool(rng.integers(2))
        name = f"饮片{number:03d}.png"
        _draw_heap(colour, part, mould, rng).save(folder / "images" / name)
        rows.append((name, f"B{number:03d}", herb, part, "霉变，碎屑" if mould else "无", "劣" if mould else "优质"))
    with (folder / "饮片.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder / "饮片.csv"


def _draw_tongue(
    body: tuple[int, ...], coat: tuple[int, ...], wide: bool, thick: bool, wet: bool, rng: np.random.Generator
) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), (70, 40, 40))
    draw = ImageDraw.Draw(picture)
    half = 38 if wide else 24
    middle = SIDE // 2 + int(rng.integers(-4, 5))
    draw.ellipse((middle - half, 6, middle + half, 90), fill=body)
    inner = half // 2 if thick else half // 4
    draw.ellipse((middle - inner, 18, middle + inner, 70), fill=coat)
    if wet:
        for x, y in rng.integers((middle - half // 2, 20), (middle + half // 2, 80), (12, 2)):
            draw.ellipse((x, y, x + 3, y + 3), fill=(255, 255, 255))
    return _with_noise(picture, rng)


def _draw_heap(colour: tuple[int, ...], part: str, mould: bool, rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), (235, 235, 230))
    draw = ImageDraw.Draw(picture)
    for x, y in rng.integers(8, SIDE - 20, (24, 2)):
        across, down = {"果实": (10, 7), "花": (14, 14), "根": (26, 6)}[part]
        draw.ellipse((x, y, x + across, y + down), fill=colour, outline=(90, 60, 40))
    for x, y in rng.integers(20, SIDE - 20, (14 if mould else 0, 2)):
        draw.ellipse((x, y, x + 7, y + 7), fill=(80, 130, 110))
    return _with_noise(picture, rng)


def _with_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(picture, dtype=float) + rng.normal(0, 6, (SIDE, SIDE, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
