"""Burned-in text in places where it is easily missed: one frame of a clip, small letters, the edge, colours."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rapidocr", reason="burned-in text is found with residency[ocr]")

from tests.dicom.files import burn, made_header, speckle, with_pixels, write_dicom
from tests.run_command import run_residency

PLACE = (8, 10)


def dark(seed: int, height: int = 160, width: int = 320, colours: bool = False) -> np.ndarray:
    """Return a black picture with tissue in its lower right."""
    picture = np.zeros((height, width, 3) if colours else (height, width), np.uint8)
    picture[-64:, -64:] = speckle(seed, 64, colours)
    return picture


def ink_of(clean: np.ndarray, burned: np.ndarray) -> np.ndarray:
    return np.abs(burned.astype(int) - clean).reshape(*clean.shape[:2], -1).max(2) > 60


def test_text_is_masked_wherever_it_stands_and_the_tissue_stays(tmp_path: Path) -> None:
    clip = [dark(seed) for seed in range(5)]
    named = [burn(frame, [("MARY FEATHERSTONE", PLACE)]) if number == 2 else frame for number, frame in enumerate(clip)]
    small, coloured, corner = dark(7), dark(8, colours=True), dark(9)
    pairs = {
        "clip": (np.stack(clip), np.stack(named)),
        "small": (small, burn(small, [("Hospital 29/02/2024 QX7781234", PLACE)], size=9)),
        "coloured": (coloured, burn(coloured, [("St. Aldhelm", PLACE)], fill=180)),
        "corner": (corner, burn(corner, [("DOB 12.03.1987", (0, 0))])),
    }
    for number, (name, (_, burned)) in enumerate(pairs.items()):
        write_dicom(tmp_path / "files" / name, with_pixels(made_header(number), burned))
    done = run_residency("deidentify", tmp_path / "files", "--out", tmp_path / "out", "--key", tmp_path / "key.csv")
    assert done.code == 0, done.err
    for name, image in list(csv.reader((tmp_path / "key.csv").open()))[1:]:
        stem, _, frame = name.partition("#")
        clean, burned = (one[int(frame) - 1] if frame else one for one in pairs[stem])
        left = np.asarray(Image.open(tmp_path / "out" / "images" / image))
        where = ink_of(*(one[2] for one in pairs["clip"])) if stem == "clip" else ink_of(clean, burned)
        assert where.sum() > 200
        assert left[where].max() == 0, name  # on every frame of the clip, too
        np.testing.assert_array_equal(left[-64:, -64:], clean[-64:, -64:])
    rows = list(csv.DictReader((tmp_path / "out" / "removed.csv").open()))
    assert len({row["image"] for row in rows if row["done"] == "masked"}) == 4
    assert not [row for row in rows if "FEATHERSTONE" in ",".join(row.values()).upper()]


def test_without_the_extra_nothing_is_let_through_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(tmp_path / "files" / "a.dcm", with_pixels(made_header(), dark(1)))
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)  # what an absent package looks like to import
    done = run_residency("deidentify", tmp_path / "files", "--out", tmp_path / "out")
    assert done.code == 2 and "pip install 'residency[ocr]'" in done.err
    assert not (tmp_path / "out").exists()
