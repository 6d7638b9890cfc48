"""Places told of whole pictures in, the same places told again of crops around them out: a second, closer look.

A place takes the more of a crop the smaller it is in its picture, so it is told at a finer grain and at a size that
hardly varies. Coarse to fine, as in cascaded pose regression (Toshev and Szegedy, CVPR 2014, arXiv 1312.4659).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residency.answering import Query, Said, answer_regions
from residency.asking import Predict
from residency.data.normalize import parse_answer
from residency.data.tiles import frame_marks
from residency.data.told import Told, read_told
from residency.models.family import Images, read_images
from residency.models.registry import Opened
from residency.types import Question
from residency.ultrasound.outline import DIRECTIONS, tell_points

CORNERS = 2


def look_closer(
    opened: Opened, queries: Sequence[Query], said: Sequence[Said], settings: Predict, images: Images | None
) -> list[Said]:
    """Return what was said to queries, an answer that is a single outline or box told anew: the median of its crops'.

    Crops are `settings.closer` times as wide as what was told first. Other answers stay as they are, and so do those
    whose crops are told something else.
    """
    made = list(said)
    for row, (query, one) in enumerate(zip(queries, said, strict=True)):
        if (told := read_single(one.fields["prediction"])) is None:
            continue
        (picture,), _ = read_images([one.asked], images)
        size_2 = np.array(picture.size)
        regions = [frame_marks(told.points_P2 * size_2, picture.size, times) for times in settings.closer]
        looked = answer_regions(opened, picture, regions, [Query(one.asked)], settings)
        again = [read_single(near.fields["prediction"]) for near in looked]
        points = [
            (near.points_P2 * region.size + (region.x0, region.y0)) / size_2
            for near, region in zip(again, regions, strict=True)
            if near and near.points_P2.shape == told.points_P2.shape
        ]
        if points:
            again_told = _tell(told.label, np.median(np.stack(points), 0), query.question)
            made[row] = Said(one.asked, {**one.fields, **again_told})
    return made


def read_single(text: str) -> Told | None:
    """Return the one outline or box that an answer is, None if it is neither."""
    runs = read_told(text)
    return runs[0] if len(runs) == 1 and len(runs[0].points_P2) in (CORNERS, DIRECTIONS) else None


def _tell(label: str, points_P2: NDArray[np.float64], question: Question | None) -> Mapping[str, Any]:
    text = label + tell_points(points_P2)
    return {"prediction": text, "parsed": parse_answer(question, text).answer if question else text}
