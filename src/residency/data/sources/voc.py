"""Pascal VOC boxes in (an XML file an image), `<OD>` lines with the boxes in pixels out (Everingham et al. 2010)."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from residency.data.lines import Line, Place, Reading
from residency.data.places import Mark
from residency.data.sheet import read_source
from residency.data.sources.boxes import detection_line, find_repeats, image_root
from residency.types import SPLITS, Problem, Source, SplitName

HOLDS = "Pascal VOC boxes: Annotations/*.xml and JPEGImages/ (or images/); ImageSets/Main/train.txt ... where they are"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    folder = sheet or images
    inner = folder / "Annotations"
    files = sorted((inner if inner.is_dir() else folder).glob("*.xml")) if folder.is_dir() else []
    if not any(b"<annotation" in read_source(path)[:400] for path in files[:3]):
        return None
    lists = [path for name in SPLITS if (path := folder / "ImageSets" / "Main" / f"{name}.txt").is_file()]
    return Place((*files, *lists), images if sheet else image_root(images))


def read(place: Place) -> Reading:
    """Read every file; one that is no annotation is a problem, and each box that lacks a side."""
    reading = Reading(taken=("`object` -> <OD>",), whole=True)
    splits = dict(_read_lists([path for path in place.files if path.suffix == ".txt"]))
    lines = []
    for path in place.files:
        if path.suffix == ".xml" and (line := _read_file(path, splits, reading)):
            lines.append(line)
    reading.lines, repeated = find_repeats(lines)
    reading.problems += repeated
    return reading


def _read_lists(paths: list[Path]) -> Iterator[tuple[str, SplitName]]:
    """Yield the name (without ending) and the split of each image that a published list names."""
    for path in paths:
        for row in read_source(path).decode("utf-8", "replace").split("\n"):
            if row.strip():
                yield row.split()[0], next(name for name in SPLITS if name == path.stem)


def _read_file(path: Path, splits: dict[str, SplitName], reading: Reading) -> Line | None:
    place = Source(file=str(path))
    try:
        root = fromstring(read_source(path))
    except ParseError as error:
        reading.problems.append(Problem(kind="bad-file", message=f"no XML: {error}", source=place))
        return None
    marks = []
    for number, thing in enumerate(root.iter("object"), 1):
        where = Source(file=str(path), cell=f"object {number}")
        mark = _read_box(thing, where)
        if isinstance(mark, Mark):
            marks.append(mark)
        else:
            reading.problems.append(mark)
    name = (root.findtext("filename") or "").strip() or path.stem
    width, height = (_read_number(root, f"size/{side}") or 0 for side in ("width", "height"))
    size = (int(width), int(height)) if width and height else None
    return detection_line(name, marks, place, splits.get(path.stem), size)


def _read_box(thing: Element, place: Source) -> Mark | Problem:
    label = (thing.findtext("name") or "").strip()
    sides = [_read_number(thing, f"bndbox/{side}") for side in _SIDES]
    if not label or None in sides:
        lost = [name for name, value in zip(("name", *_SIDES), (label or None, *sides), strict=True) if value is None]
        return Problem(kind="invalid-box", message=f"the object has no {', '.join(lost)}", source=place)
    x0, y0, x1, y1 = (float(side or 0) for side in sides)
    return Mark(label, ((x0, y0), (x1, y1)), place)


def _read_number(element: Element, path: str) -> float | None:
    try:
        return float(element.findtext(path) or "")
    except ValueError:
        return None
