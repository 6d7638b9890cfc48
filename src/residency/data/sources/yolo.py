"""YOLO boxes in (a text file an image, shares of its sides; data.yaml or classes.txt), `<OD>` lines out.

A row of more than five numbers is a polygon (YOLO segmentation) and is asked for as `Outline: LABEL.`
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

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
from residency.errors import UserError
from residency.files import read_text
from residency.types import Problem, Questionnaire, Source

HOLDS = "YOLO boxes: labels/**/*.txt, images/ and data.yaml (or classes.txt) with the classes' names"
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return where the data lies, None where it is none of this layout."""
    folder = sheet or images
    texts = sorted(folder.rglob("*.txt")) if folder.is_dir() else []
    labels = [path for path in texts if "labels" in (folder.name, *path.relative_to(folder).parts)]
    if not labels:
        return None
    places = (*(folder / name for name in _NAMES), folder / "labels" / "classes.txt")
    named = [path for path in places if path.is_file()]
    rows = (path for path in labels if path.name != "classes.txt")
    return Place((*named[:1], *rows), images if sheet else image_root(images))


def read(place: Place) -> Reading:
    """Read every file of rows; a row that is no box is a problem.

    Raises:
        UserError: no file names the classes.
    """
    first, *labels = place.files
    if first.name not in _NAMES:
        raise UserError("no file names the classes", allowed=list(_NAMES), do="put one beside labels/")
    names = _read_names(first)
    reading = Reading(taken=("rows -> <OD>",), whole=True)
    lines: list[Line] = []
    for path in labels:
        marks = _read_file(path, names, reading)
        source = Source(file=str(path))
        after = path.parts[len(path.parts) - path.parts[::-1].index("labels") :]
        image = str(Path(*after).with_suffix(""))
        boxes = [mark for mark in marks if len(mark.points) == 2]
        outlines = [mark for mark in marks if len(mark.points) > 2]
        split = split_of_parts(Path(*path.parts[-3:-1]))
        lines.append(detection_line(image, [*boxes, *map(_enclose, outlines)], source, split, None))
        lines += outline_lines(image, outlines, split, None)
    reading.lines, repeated = find_repeats(lines)
    reading.problems += repeated
    asked = {line.question for line in lines}
    questions = tuple(question for question in (DETECTION, OUTLINE) if question.id in asked)
    reading.questionnaire = Questionnaire(name="yolo", questions=questions) if questions else None
    return reading


def _read_names(path: Path) -> dict[int, str]:
    """Return the classes' names by number."""
    text = read_text(path)
    if path.suffix in (".txt", ".names"):
        return dict(enumerate(row.strip() for row in text.strip().split("\n")))
    try:
        names = (yaml.safe_load(text) or {}).get("names")
    except (yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{path} is no data.yaml", found=error, do="write `names: [first, second]`") from None
    if isinstance(names, list):
        return {number: str(name) for number, name in enumerate(names)}
    if isinstance(names, dict):
        return {int(number): str(name) for number, name in names.items()}
    raise UserError(f"{path} names no classes", found=names, do="write `names: [first, second]`")


def _read_file(path: Path, names: dict[int, str], reading: Reading) -> list[Mark]:
    marks = []
    for number, row in enumerate(read_text(path).split("\n"), 1):
        if not row.strip():
            continue
        place = Source(file=str(path), cell=f"line {number}")
        mark = _read_row(row.split(), names, place)
        if isinstance(mark, str):
            reading.problems.append(Problem(kind="invalid-box", message=f"`{row.strip()[:60]}` {mark}", source=place))
        else:
            marks.append(mark)
    return marks


def _read_row(words: Sequence[str], names: dict[int, str], place: Source) -> Mark | str:
    """Return the box or polygon of a row, or what is wrong with it."""
    try:
        label, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        return "is no class and numbers"
    if label not in names:
        return f"is of class {label}, which has no name"
    if len(values) == 4:
        x, y, width, height = values
        return Mark(
            names[label], ((x - width / 2, y - height / 2), (x + width / 2, y + height / 2)), place, shares=True
        )
    if len(values) < 6 or len(values) % 2:
        return f"has {len(values)} numbers: a box has 4, a polygon 6 or more"
    return Mark(names[label], tuple(zip(values[::2], values[1::2], strict=True)), place, shares=True)


def _enclose(mark: Mark) -> Mark:
    """Return the box around an outline."""
    xs, ys = zip(*mark.points, strict=True)
    return Mark(mark.label, ((min(xs), min(ys)), (max(xs), max(ys))), mark.source, mark.shares)
