"""A JSON list of boxes in (`image_filename`, `label`, `bbox`: [x0, y0, x1, y1] in pixels), `<OD>` lines out."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from residency.data.lines import Line, Place, Reading
from residency.data.places import Mark
from residency.data.sources.boxes import detection_line, image_root
from residency.data.sources.records import lacks, list_json, read_values
from residency.types import Problem, Source

HOLDS = "a JSON list of boxes: {image_filename, label, bbox: [x0, y0, x1, y1] in pixels}"
_IMAGE = ("image_filename", "file_name", "image")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    files = tuple(path for path in list_json(sheet, images) if _is_list(read_values(path)))
    return Place(files, images if sheet else image_root(images)) if files else None


def read(place: Place) -> Reading:
    """Read every file; a record that lacks something, or whose box is no four numbers, is a problem."""
    reading = Reading(taken=("`bbox` -> <OD>",))
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    firsts: dict[str, Source] = {}
    for path in place.files:
        for number, item in enumerate(read_values(path), 1):
            where = Source(file=str(path), cell=f"item {number}")
            key = next((key for key in _IMAGE if isinstance(item, dict) and key in item), _IMAGE[0])
            if problem := lacks(item, (key, "label", "bbox"), where):
                reading.problems.append(problem)
                continue
            mark = _read_box(item, where)
            firsts.setdefault(str(item[key]), where)
            if isinstance(mark, Problem):
                reading.problems.append(mark)
            else:
                marks[str(item[key])].append(mark)
    reading.lines = [_line(image, marks[image], where) for image, where in firsts.items()]
    return reading


def _is_list(values: Any) -> bool:
    first = values[0] if isinstance(values, list) and values else None
    return isinstance(first, dict) and {"label", "bbox"} <= first.keys() and any(key in first for key in _IMAGE)


def _line(image: str, marks: list[Mark], source: Source) -> Line:
    return detection_line(image, marks, source, None, None)


def _read_box(item: dict[str, Any], place: Source) -> Mark | Problem:
    box = item["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(side, int | float) for side in box)):
        return Problem(kind="invalid-box", message=f"`{item['label']}` bbox is {box}", source=place)
    x0, y0, x1, y1 = map(float, box)
    return Mark(str(item["label"]), ((x0, y0), (x1, y1)), place)
