"""Places told of whole pictures in, the same places told again of crops around them out: a second, closer look.

A place takes the more of a crop the smaller it is in its picture, so it is told at a finer grain and at a size that
hardly varies. Coarse to fine, as in cascaded pose regression (Toshev and Szegedy, CVPR 2014, arXiv 1312.4659).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residency.answering import Query, Said
from residency.asking import Predict
from residency.crops import Crop, answer_crops, cut_crop
from residency.data.normalize import parse_answer
from residency.data.tiles import frame_marks
from residency.data.told import Told, read_told
from residency.models.family import Images, read_images
from residency.models.registry import Opened
from residency.types import Question, Sample
from residency.ultrasound.outline import DIRECTIONS, tell_points

CORNERS = 2


def look_closer(
    opened: Opened, queries: Sequence[Query], said: Sequence[Said], settings: Predict, images: Images | None
) -> list[Said]:
    """Return what was said to queries, an answer that is a single outline or box told anew: the median of its crops'.

    Crops are `settings.closer` times as wide as what was told first. Other answers stay as they are, and so do those
    whose crops are told something else.
    """
    marks = {row: told for row, one in enumerate(said) if (told := read_single(one.fields["prediction"]))}
    crops = (crop for row, told in marks.items() for crop in _cut_around(said[row].asked, told, settings, images))
    rows = [row for row in marks for _ in settings.closer]
    points: dict[int, list[NDArray[np.float64]]] = {row: [] for row in marks}
    for row, (crop, (near,)) in zip(rows, answer_crops(opened, crops, settings), strict=True):
        again = read_single(near.fields["prediction"])
        if again and again.points_P2.shape == marks[row].points_P2.shape:
            points[row].append((again.points_P2 * crop.region.size + (crop.region.x0, crop.region.y0)) / crop.size)
    made = list(said)
    for row in (row for row in marks if points[row]):
        told_again = _tell(marks[row].label, np.median(np.stack(points[row]), 0), queries[row].question)
        made[row] = Said(said[row].asked, {**said[row].fields, **told_again})
    return made


def _cut_around(asked: Sample, told: Told, settings: Predict, images: Images | None) -> Iterator[Crop]:
    (picture,), _ = read_images([asked], images)
    for times in settings.closer:
        region = frame_marks(told.points_P2 * picture.size, picture.size, times)
        yield cut_crop(picture, region, [Query(asked)])


def read_single(text: str) -> Told | None:
    """Return the one outline or box that an answer is, None if it is neither."""
    runs = read_told(text)
    return runs[0] if len(runs) == 1 and len(runs[0].points_P2) in (CORNERS, DIRECTIONS) else None


def _tell(label: str, points_P2: NDArray[np.float64], question: Question | None) -> Mapping[str, Any]:
    text = label + tell_points(points_P2)
    return {"prediction": text, "parsed": parse_answer(question, text).answer if question else text}
