"""What a movement means for a sample: a sample and a movement in, the sample that is true of the moved picture out.

Nothing is guessed: where text, places or sizes cannot be carried surely the movement is refused (None).
"""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from residency.types import Answer, Box, Outline, Quantity, Sample
from residency.ultrasound.augment.move import Move
from residency.ultrasound.augment.sector import Sector

KEPT = 0.9
"""The share of a box or outline in the sector that must still be in it after a movement."""
PLACES = 1000
"""Location tokens `<loc_0>` to `<loc_999>` count shares of a side (Florence-2)."""
_RUN = re.compile(r"(?:<loc_\d{1,3}>)+")
_FOREIGN_PLACE = re.compile(r"<loc\d{4}>|<seg\d+>|<poly>|[\[(]\s*\d+(?:\.\d+)?\s*(?:,\s*\d+(?:\.\d+)?\s*){3}")
_DIRECTED = re.compile(r"\bto (?:the )?(left|right)\b", re.IGNORECASE)
_SIDED = re.compile(
    r"\b(left|right|lt|rt|lhs|rhs|[lr]|lefts?ided|rights?ided|dextr\w*|la?evo\w*|sinist\w*|situs|clockwise|"
    r"anticlockwise|counterclockwise|o'clock|link\w*|recht\w*|gauche\w*|droit\w*|izquierd\w*|derech\w*|destr\w*|"
    r"esquerd\w*|direit\w*|лев\w*|прав\w*|sol|sağ)\b|[左右]",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(?:mm|cm|millim\w*|centim\w*)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
_GRADED = re.compile(r"qualit|qualid|gain|shadow|artifact|artefact|blur|motion|noise|haze|contrast", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}


def carry_sample(sample: Sample, move: Move, sector: Sector, *, spacing_told: bool) -> Sample | None:
    """Return the sample after a movement, or None where it cannot be carried surely.

    Places (boxes, outlines, location tokens) move with the picture; `spacing_mm`, and its value in prompt and
    columns, with the magnification; `to left` and `to right` change over with a flip. `spacing_told`: the model
    is told the spacing, so that a size can be told from a magnified picture.
    """
    if any(_FOREIGN_PLACE.search(text) for text in (sample.prefix, sample.suffix or "")):
        return None
    moved: Sample | None = sample
    if move.flipped:
        moved = _change_sides(sample)
    if moved is not None and move.zoom != 1:
        moved = _change_spacing(moved, move.zoom, sector, spacing_told=spacing_told)
    return None if moved is None else _carry_places(moved, move, sector)


def grades_picture(sample: Sample) -> bool:
    """Return whether question or answer speaks of the picture's quality, or of what lowers it."""
    return any(_GRADED.search(text) for text in (sample.prefix, sample.suffix or ""))


def keep_sides(samples: Iterable[Sample]) -> bool:
    """Return whether these samples are as true of the mirrored picture as they are: none names a side."""
    return all(_change_sides(sample) == sample for sample in samples)


def _change_sides(sample: Sample) -> Sample | None:
    """Return the sample with left and right changed over: surely done for one answer's `to left`, `to right` only.

    An organ's side (left ventricle), a question about a side, and a set of answers that names one are refused.
    """
    answers = [*_words(sample.answer), *(word for part in sample.parts.values() for word in _words(part))]
    whole = [sample.prefix, sample.category or "", *sample.columns.values(), *sample.attributes.values()]
    kept = [*whole, *(box.label for box in sample.boxes), *(outline.label for outline in sample.outlines)]
    if any(_SIDED.search(text) for text in kept):
        return None
    if any(_SIDED.search(_DIRECTED.sub("", text)) for text in [sample.suffix or "", *answers]):
        return None
    if any(isinstance(held, tuple) and _DIRECTED.search(" ".join(held)) for held in (sample.answer, *_parts(sample))):
        return None
    return sample.model_copy(
        update={
            "suffix": sample.suffix and _swap_sides(sample.suffix),
            "answer": _swap_answer(sample.answer),
            "parts": {id: _swap_answer(part) for id, part in sample.parts.items()},
        }
    )


def _parts(sample: Sample) -> list[Answer]:
    return list(sample.parts.values())


def _words(answer: Answer | None) -> tuple[str, ...]:
    if isinstance(answer, str):
        return (answer,)
    return answer if isinstance(answer, tuple) else ()


def _swap_answer(answer: Answer | None) -> Answer | None:
    return _swap_sides(answer) if isinstance(answer, str) else answer


def _swap_sides(text: str) -> str:
    def swap(match: re.Match[str]) -> str:
        word = match[1]
        other = _OTHER_SIDE[word.lower()]
        other = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
        return match[0][: -len(word)] + other

    return _DIRECTED.sub(swap, text)


def _change_spacing(sample: Sample, zoom: float, sector: Sector, *, spacing_told: bool) -> Sample | None:
    """Return the sample with its spacing divided by the magnification, in its prompt and columns too.

    Refused where the answer tells a size but the model no spacing, where a ruler beside the sector would then lie,
    and where the prompt holds another length, which may be a depth or a width of the picture.
    """
    sized = any(character.isdigit() for character in _RUN.sub("", sample.suffix or "")) or any(
        isinstance(held, Quantity) for held in (sample.answer, *_parts(sample))
    )
    spacing = sample.spacing_mm
    told = spacing is not None and (spacing_told or _tells_spacing(sample.prefix, spacing))
    if sized and (not told or sector.marked):
        return None
    if any(spacing is None or not _is_spacing(found, spacing) for found in _LENGTH.findall(sample.prefix)):
        return None
    if spacing is None:
        return sample
    held = spacing

    def scale(texts: Mapping[str, str]) -> dict[str, str]:
        return {name: _scale_spacing(text, held, zoom) for name, text in texts.items()}

    return sample.model_copy(
        update={
            "spacing_mm": (spacing[0] / zoom, spacing[1] / zoom),
            "prefix": _scale_spacing(sample.prefix, spacing, zoom),
            "columns": scale(sample.columns),
            "attributes": scale(sample.attributes),
        }
    )


def _is_spacing(written: str, spacing: tuple[float, float]) -> bool:
    """Return whether a written number is the spacing, to the digits that are written (two at least)."""
    decimals = len(written.partition(".")[2])
    digits = len(written.replace(".", "").lstrip("0"))
    return digits >= 2 and any(abs(float(written) - value) <= 0.5001 * 10**-decimals for value in spacing)


def _tells_spacing(text: str, spacing: tuple[float, float]) -> bool:
    return any(_is_spacing(found, spacing) for found in _NUMBER.findall(text))


def _scale_spacing(text: str, spacing: tuple[float, float], zoom: float) -> str:
    def scale(match: re.Match[str]) -> str:
        decimals = len(match[0].partition(".")[2])
        return f"{float(match[0]) / zoom:.{decimals}f}" if _is_spacing(match[0], spacing) else match[0]

    return _NUMBER.sub(scale, text)


def _carry_places(sample: Sample, move: Move, sector: Sector) -> Sample | None:
    """Return the sample with boxes, outlines and location tokens moved, or None where one leaves the sector."""
    height, width = sector.mask_HW.shape
    outlines = []
    for outline in sample.outlines:
        points = _carry_points(np.array(outline.points), move, sector)
        if points is None:
            return None
        outlines.append(Outline(label=outline.label, points=tuple((float(x), float(y)) for x, y in points)))
    boxes = []
    for box in sample.boxes:
        corners = _carry_box(np.array(box.xyxy), move, sector)
        if corners is None:
            return None
        boxes.append(Box(label=box.label, xyxy=(corners[0], corners[1], corners[2], corners[3])))
    texts = []
    for text in (sample.prefix, sample.suffix or ""):
        carried = _replace_runs(text, lambda run: _carry_run(run, move, sector, np.array([width, height], float)))
        if carried is None:
            return None
        texts.append(carried)
    return sample.model_copy(
        update={
            "outlines": tuple(outlines),
            "boxes": tuple(boxes),
            "prefix": texts[0],
            "suffix": texts[1] if sample.suffix is not None else None,
        }
    )


def _replace_runs(text: str, change: Callable[[list[int]], list[int] | None]) -> str | None:
    pieces, last = [], 0
    for match in _RUN.finditer(text):
        run = change([int(number) for number in re.findall(r"\d+", match[0])])
        if run is None:
            return None
        pieces += [text[last : match.start()], "".join(f"<loc_{place}>" for place in run)]
        last = match.end()
    return "".join([*pieces, text[last:]])


def _carry_run(run: list[int], move: Move, sector: Sector, size: NDArray[np.floating]) -> list[int] | None:
    """Return location tokens moved: four are a box, six and more an outline, two a point.

    A longer run that could be several boxes as well as an outline is moved as both at once, or refused.
    """
    if len(run) % 2:
        return None
    points = (np.array(run, float).reshape(-1, 2) + 0.5) / PLACES * size
    quads = np.array(run).reshape(-1, 4) if len(run) % 4 == 0 else None
    boxes = quads is not None and bool((quads[:, :2] < quads[:, 2:]).all())
    carried: NDArray[np.floating] | None
    if boxes and len(run) == 4:
        carried = _carry_box(points.reshape(4), move, sector)
    elif boxes and (move.flipped or move.turned):
        return None
    else:
        carried = _carry_points(points, move, sector)
    if carried is None:
        return None
    shares = carried.reshape(-1, 2) / size * PLACES
    # What left the picture by a little ends at its edge; more has been refused.
    return [int(place) for place in np.floor(shares + 1e-6).clip(0, PLACES - 1).reshape(-1)]


def _carry_box(xyxy: NDArray[np.floating], move: Move, sector: Sector) -> NDArray[np.floating] | None:
    """Return a box [x0, y0, x1, y1] moved; a turned one would be no box, and is refused."""
    if move.turned:
        return None
    share = np.linspace(0.1, 0.9, 5)
    grid = np.stack(np.meshgrid(share, share), -1).reshape(-1, 2) * (xyxy[2:] - xyxy[:2]) + xyxy[:2]
    if _is_lost(grid, move, sector):
        return None
    corners = move.carry(xyxy.reshape(2, 2))
    height, width = sector.mask_HW.shape
    limited = np.concatenate([corners.min(0), corners.max(0)]).clip(0, [width, height, width, height])
    return limited if (limited[2:] > limited[:2]).all() else None


def _carry_points(points: NDArray[np.floating], move: Move, sector: Sector) -> NDArray[np.floating] | None:
    """Return an outline's points moved."""
    inner = 0.85 * points + 0.15 * points.mean(0)
    return None if _is_lost(inner, move, sector) else move.carry(points)


def _is_lost(points: NDArray[np.floating], move: Move, sector: Sector) -> bool:
    """Return whether a movement takes more of a structure out of the sector than is allowed."""
    before = sector.holds(points)
    after = sector.holds(move.carry(points))
    return bool((before & after).sum() < KEPT * before.sum())
