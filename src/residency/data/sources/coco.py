"""COCO annotations (JSON) in, `<OD>` lines with boxes and `Outline: LABEL.` lines with polygons out.

Lin et al. 2014, arXiv 1405.0312.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from residency.data.lines import Line, Place, Reading
from residency.data.places import Mark
from residency.data.sources.boxes import (
    DETECTION,
    OUTLINE,
    detection_line,
    find_repeats,
    image_root,
    outline_lines,
    split_of_parts,
)
from residency.data.sources.masks import trace_region
from residency.data.sources.records import lacks, list_json, read_values
from residency.data.sources.runs import decode_runs
from residency.types import Problem, Questionnaire, Source

HOLDS = "COCO: a JSON of images, annotations (bbox, polygons, run lengths) and categories, or one such a split"
_PARTS = ("images", "annotations", "categories")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    paths = list_json(sheet, images) or ([] if sheet else list_json(None, images / "annotations"))
    files = tuple(path for path in paths if isinstance(value := read_values(path), dict) and {*_PARTS} <= value.keys())
    return Place(files, images if sheet else image_root(images)) if files else None


def read(place: Place) -> Reading:
    """Read every file; boxes of no image or category, and records that lack something, are problems."""
    reading = Reading(taken=("`bbox` -> <OD>",), whole=True)
    lines: list[Line] = []
    for path in place.files:
        lines += _read_file(path, read_values(path), reading)
    reading.lines, repeated = find_repeats(lines)
    reading.problems += repeated
    asked = {line.question for line in lines}
    if OUTLINE.id in asked:
        reading.taken += ("`segmentation` -> Outline: LABEL.",)
    questions = tuple(question for question in (DETECTION, OUTLINE) if question.id in asked)
    reading.questionnaire = Questionnaire(name="coco", questions=questions) if questions else None
    return reading


def _read_file(path: Path, values: dict[str, Any], reading: Reading) -> Iterator[Line]:
    names = {item.get("id"): str(item.get("name", "")) for item in values["categories"] if isinstance(item, dict)}
    boxes: defaultdict[Any, list[Mark]] = defaultdict(list)
    outlines: defaultdict[Any, list[Mark]] = defaultdict(list)
    known = {item.get("id") for item in values["images"] if isinstance(item, dict)}
    for number, item in enumerate(values["annotations"], 1):
        place = Source(file=str(path), cell=f"annotation {number}")
        problem = lacks(item, ("image_id", "category_id"), place) or _find_stray(item, names, known, place)
        if problem:
            reading.problems.append(problem)
        elif item.get("iscrowd"):
            message = "a crowd is no single box: left out"
            reading.flags.append(Problem(kind="crowd", message=message, source=place))
        else:
            label = names[item["category_id"]]
            _read_box(item, label, place, boxes[item["image_id"]], reading)
            _read_polygons(item, label, place, outlines[item["image_id"]], reading)
    for number, item in enumerate(values["images"], 1):
        place = Source(file=str(path), cell=f"image {number}")
        if problem := lacks(item, ("id", "file_name"), place):
            reading.problems.append(problem)
            continue
        width, height = item.get("width"), item.get("height")
        size = (int(width), int(height)) if width and height else None
        split = split_of_parts(Path(path.stem))
        yield detection_line(item["file_name"], boxes[item["id"]], place, split, size)
        yield from outline_lines(item["file_name"], outlines[item["id"]], split, size)


def _find_stray(item: dict[str, Any], names: dict[Any, str], images: set[Any], place: Source) -> Problem | None:
    lost = [f"category {item['category_id']}"] if item["category_id"] not in names else []
    lost += [f"image {item['image_id']}"] if item["image_id"] not in images else []
    message = f"the file has no {' and no '.join(lost)}"
    return Problem(kind="stray-annotation", message=message, source=place) if lost else None


def _read_box(item: dict[str, Any], label: str, place: Source, marks: list[Mark], reading: Reading) -> None:
    box = item.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)):
        reading.problems.append(Problem(kind="invalid-box", message=f"`{label}` bbox is {box}", source=place))
        return
    x, y, width, height = map(float, box)
    marks.append(Mark(label, ((x, y), (x + width, y + height)), place))


def _read_polygons(item: dict[str, Any], label: str, place: Source, marks: list[Mark], reading: Reading) -> None:
    """Add an annotation's polygons; of a run-length mask the outlines of its parts."""
    told = item.get("segmentation") or []
    if isinstance(told, dict):
        region_HW = decode_runs(told)
        if region_HW is None:
            message = f"`{label}`: no run-length mask can be read in it; its box is kept"
            reading.problems.append(Problem(kind="invalid-outline", message=message, source=place))
        else:
            marks.extend(trace_region(region_HW, label, place))
        return
    for polygon in told:
        flat = polygon if isinstance(polygon, list) and all(isinstance(v, int | float) for v in polygon) else []
        if len(flat) < 6 or len(flat) % 2:
            message = f"`{label}`: {len(flat)} numbers are no polygon"
            reading.problems.append(Problem(kind="invalid-outline", message=message, source=place))
            continue
        marks.append(Mark(label, tuple(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True)), place))
