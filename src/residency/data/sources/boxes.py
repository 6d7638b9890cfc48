"""What the box layouts share: an image's boxes and outlines in, the lines that ask for them out."""

from collections.abc import Sequence
from pathlib import Path

from residency.data.lines import Line
from residency.data.places import Mark
from residency.data.reports import split_of_name
from residency.types import Problem, Question, Source, SplitName

OUTLINE = Question(id="outline", type="text", wording="Outline: LABEL.")
"""Asked of each label in its own words; the answer is that label's outlines alone."""
DETECTION = Question(id="od", type="text", wording="<OD>")
_IMAGES = ("images", "image", "JPEGImages", "imgs", "img")


def image_root(images: Path) -> Path:
    """Return the folder of images in a layout's folder, else the folder itself."""
    return next((images / name for name in _IMAGES if (images / name).is_dir()), images)


def split_of_parts(path: Path) -> SplitName | None:
    """Return the split that a folder of the path, or its last one's name, is called by."""
    return next((split for part in reversed(path.parts) if (split := split_of_name(part))), None)


def detection_line(
    image: str, marks: Sequence[Mark], source: Source, split: SplitName | None, size: tuple[int, int] | None
) -> Line:
    """Return the line that asks for every box of an image; `size` is what its source says of the picture."""
    return Line(source, {"image": image, "prefix": DETECTION.wording}, split, DETECTION.id, tuple(marks), size)


def outline_lines(
    image: str, marks: Sequence[Mark], split: SplitName | None, size: tuple[int, int] | None
) -> list[Line]:
    """Return a line for each label of the outlines: `Outline: LABEL.`, its outlines from left to right."""
    lines = []
    for label in dict.fromkeys(mark.label for mark in marks):
        own = tuple(mark for mark in marks if mark.label == label)
        values = {"image": image, "prefix": OUTLINE.wording.replace("LABEL", label)}
        lines.append(Line(own[0].source, values, split, OUTLINE.id, own, size, labelled=False))
    return lines


def find_repeats(lines: Sequence[Line]) -> tuple[list[Line], list[Problem]]:
    """Return the lines without those that speak of an image a second time, and a problem for each of these."""
    kept: dict[tuple[str, str], Line] = {}
    problems = []
    for line in lines:
        key = (line.text("image"), line.text("prefix"))
        if kept.setdefault(key, line) is not line:
            message = f"`{key[0]}` is annotated a second time, first in {kept[key].source}"
            problems.append(Problem(kind="repeated-image", message=message, source=line.source))
    return list(kept.values()), problems
