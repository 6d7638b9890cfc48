"""Pictures of masks in, each region's outline as an `Outline: LABEL.` line in pixels out.

A mask is named as its image is, with or without an ending such as `_mask` or `_Annotation` (HC18). What each grey
level or colour means is said by `--label "255: fetal head"`; or masks lie in one folder a label. Holes are filled, so
that a drawn contour counts as the region within. Outlines by contourpy (matplotlib's), the marching squares.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from residency.data.columns import by_role, match_columns
from residency.data.index import ENDINGS
from residency.data.lines import Line, Place, Reading
from residency.data.places import Mark
from residency.data.rows import read_pixel_sizes
from residency.data.sheet import cell_text, read_sheet
from residency.data.sources.boxes import OUTLINE, image_root, outline_lines
from residency.errors import UserError
from residency.progress import track
from residency.types import Problem, Questionnaire, Source

HOLDS = 'masks: images/ and masks/ (or annotation/), what a level means by --label "255: fetal head"'
_FOLDERS = ("masks", "mask", "annotation", "annotations", "segmentations", "SegmentationClass")
_ENDING = re.compile(r"[_\-. ]?(mask|annotation|segmentation|seg|gt|label)s?$", re.I)
_POINTS = 128
"""An outline keeps at most so many of its points."""
_SPECK = 0.0005
"""A part of a region below this share of the picture is a speck, and left out."""
_FAILS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    folder = sheet or _mask_folder(images)
    root = images if sheet else image_root(images)
    if folder is None or not folder.is_dir() or (root == images and sheet is None):
        return None
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    tables = sorted(images.glob("*.csv"))
    return Place((*files, *tables[:1]), root) if files else None


def read(place: Place) -> Reading:
    """Read every mask; one that cannot be decoded, or is of no label, is a problem.

    Raises:
        UserError: no label says what the masks' levels mean.
    """
    masks = [path for path in place.files if path.suffix.lower() in ENDINGS]
    named = _read_labels(place.labels)
    folders = {path.parent.name for path in masks}
    if not named and len(folders) == 1 and masks[0].parent.name in _FOLDERS:
        raise UserError(
            f"what do the levels of {masks[0].parent} mean?",
            found=[",".join(map(str, level)) for level in _levels(_load(masks[0]))],
            do='say it: --label "255: fetal head"',
        )
    spacing = _read_spacing([path for path in place.files if path not in masks])
    questions = Questionnaire(name="masks", questions=(OUTLINE,))
    reading = Reading(taken=(f"masks -> {OUTLINE.wording}",), questionnaire=questions)
    for path in track(masks, "reading masks"):
        reading.lines += _read_file(path, named, spacing, reading)
    return reading


def _mask_folder(images: Path) -> Path | None:
    return next((images / name for name in _FOLDERS if (images / name).is_dir()), None)


def _read_labels(labels: Sequence[str]) -> dict[tuple[int, ...], str]:
    """Return each level's label: `255: fetal head`, `128,0,0: brain`."""
    named = {}
    for text in labels:
        level, _, label = text.partition(":")
        if not re.fullmatch(r"\s*\d{1,3}(\s*,\s*\d{1,3}){0,2}\s*", level) or not label.strip():
            do = 'write a grey level or R,G,B, a colon, and the label: --label "128,0,0: brain"'
            raise UserError(f"--label `{text}` is no level and label", do=do)
        named[tuple(map(int, level.split(",")))] = label.strip()
    return named


def _read_file(
    path: Path, named: Mapping[tuple[int, ...], str], spacing: Mapping[str, tuple[float, float]], reading: Reading
) -> Iterator[Line]:
    source = Source(file=str(path))
    try:
        levels = _load(path)
    except _FAILS as error:
        message = f"the mask cannot be decoded: {str(error)[:100]}"
        reading.problems.append(Problem(kind="bad-file", message=message, source=source))
        return
    found = _levels(levels)
    if named:
        regions = {named[level]: (levels == level).all(-1) for level in found if level in named}
    else:
        regions = {path.parent.name: levels.any(-1)} if found else {}
    if named and (strange := [level for level in found if level not in named]):
        shown = "; ".join(",".join(map(str, level)) for level in strange[:4])
        reading.flags.append(Problem(kind="unnamed-level", message=f"level {shown} has no --label", source=source))
    image = _ENDING.sub("", path.stem)
    marks = [mark for label, region_HW in regions.items() for mark in trace_region(region_HW, label, source)]
    if not marks:
        reading.flags.append(Problem(kind="nothing-marked", message="the mask marks nothing", source=source))
    size = (levels.shape[1], levels.shape[0])
    for line in outline_lines(image, marks, None, size):
        yield replace(line, spacing_mm=spacing.get(image))


def _load(path: Path) -> np.ndarray:
    """Return a mask's levels, (height, width, 1 or 3)."""
    with Image.open(path) as picture:
        plain = picture if picture.mode in ("L", "P", "1", "I", "I;16") else picture.convert("RGB")
        values = np.asarray(plain.convert("L") if plain.mode == "1" else plain)
    grey = values if values.ndim == 3 else values[..., None]
    return grey[..., :1] if grey.shape[-1] == 3 and (grey == grey[..., :1]).all() else grey


def _levels(levels_HWC: np.ndarray) -> list[tuple[int, ...]]:
    """Return the levels that a mask holds, but for nothing (0)."""
    kinds = np.unique(levels_HWC.reshape(-1, levels_HWC.shape[-1]), axis=0)
    return [tuple(map(int, kind)) for kind in kinds if kind.any()][:50]


def trace_region(region_HW: np.ndarray, label: str, source: Source) -> Iterator[Mark]:
    """Yield the outline of each part of a region, the largest first, in pixels."""
    from contourpy import contour_generator

    parts_HW, count = ndimage.label(ndimage.binary_fill_holes(region_HW))
    areas = np.bincount(parts_HW.ravel(), minlength=count + 1)
    for part in sorted(range(1, count + 1), key=lambda part: -areas[part]):
        if areas[part] < _SPECK * region_HW.size:
            return
        padded = np.pad((parts_HW == part).astype(np.float32), 1)
        rings = contour_generator(z=padded).lines(0.5)
        points_P2 = max((np.asarray(ring) for ring in rings), key=len)[:-1] - 0.5  # the middle of pixel 0 lies at 0.5
        kept = np.linspace(0, len(points_P2), min(_POINTS, len(points_P2)), endpoint=False).astype(int)
        yield Mark(label, tuple((float(x), float(y)) for x, y in points_P2[kept]), source)


def _read_spacing(tables: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """Return (row, column) mm a pixel by image, from a table beside the masks that tells it."""
    found: dict[str, tuple[float, float]] = {}
    for path in tables:
        table = read_sheet(path)[0][0]
        roles = by_role(match_columns(table, Questionnaire(name="masks", questions=(OUTLINE,)))[0])
        if "image" in roles and "spacing" in roles:
            for _, cells in table.rows:
                sizes = read_pixel_sizes(cell_text(cells.get(roles["spacing"].number)))
                if sizes:
                    name = Path(cell_text(cells.get(roles["image"].number))).stem
                    found[name] = (sizes[0], sizes[-1])
    return found
