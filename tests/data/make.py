"""Small sheets and images for the tests of data: real files, drawn by seed."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image
from scipy.ndimage import gaussian_filter

Q1 = "Q1:\nAnatomical Structures Identification: Identify and describe all anatomical structures visible in the image."
Q3 = (
    "Q3:\nPlane Evaluation: Assess if the image is taken at a standard diagnostic plane "
    "and describe its diagnostic relevance."
)
Q5 = "Q5:\nGestational Age: Estimate the gestational age of the fetus based on the visible features."
HEADINGS = ("Image", "Patient", "Category", "Annotator", Q1, Q3, Q5)
ROW = ("liver, stomach", "transverse trans-abdominal plane", "20-25 weeks")


def draw_image(path: Path, seed: int | None = None, side: int = 96) -> Path:
    """Write a smooth random picture that differs from every other seed's (by default the name's)."""
    rng = np.random.default_rng(zlib.crc32(path.as_posix().encode()) if seed is None else seed)
    field = gaussian_filter(rng.standard_normal((side, side)), side / 16)
    grey = (127 + 100 * field / np.abs(field).max()).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)
    return path


def write_book(path: Path, sheets: Mapping[str, Sequence[Sequence[object]]]) -> Path:
    """Write a workbook of named sheets, each a list of rows."""
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def clean_rows(count: int = 12, per_patient: int = 2) -> list[tuple[object, ...]]:
    """Return headings and clean rows: images `i00.png` ..., two a patient, of two categories in turn."""
    categories = ("abdomen", "thorax")
    rows: list[tuple[object, ...]] = [HEADINGS]
    for number in range(count):
        patient = number // per_patient
        rows.append((f"i{number:02d}.png", f"P{patient}", categories[patient % 2], "A", *ROW))
    return rows


def make_source(folder: Path, rows: Sequence[Sequence[object]] | None = None, name: str = "answers.xlsx") -> Path:
    """Write `answers.xlsx` and `images/` with the clean images; return the sheet."""
    for number in range(12):
        draw_image(folder / "images" / f"i{number:02d}.png", seed=number)
    return write_book(folder / name, {"Annotations": rows or clean_rows()})
