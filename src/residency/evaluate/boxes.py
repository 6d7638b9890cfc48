"""True and told boxes in; F1, precision, recall and average precision out, matched by the COCO evaluator.

`pycocotools` (Lin et al. 2014, arXiv 1405.0312) matches: greedily, the surest box first, each true box once, by label,
at intersections over unions of 0.5 to 0.95, at most 100 boxes of a label in a picture. From its matches, made once,
every resample of patients has its own average precision: the weights of the pictures are summed along the ranking.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residency.evaluate.metric import Floats, Metric, Tally, divide
from residency.evaluate.places import Marked
from residency.types import Box

F1 = Metric("F1 at IoU 0.5")
PRECISION, RECALL = Metric("precision at IoU 0.5"), Metric("recall at IoU 0.5")
MAP50, MAP = Metric("mAP50"), Metric("mAP50-95")
OVERLAP, NEARNESS = Metric("mean IoU"), Metric("F1 weighted by IoU")
DRAWS = 1000
"""Resamples for average precision, which ranks all boxes anew in each."""
_ROWS = 128
_MOST = 100
"""Boxes of one label in a picture that are matched, the surest."""
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Ranking:
    """One label's D told boxes, the surest first: each one's picture, whether it is an answer, and at each of T
    overlaps whether it found a true box of its own. Of each of N pictures: how many true boxes, and the sum over them
    of the best overlap with an answer."""

    picture_D: NDArray[np.int64]
    found_TD: NDArray[np.bool_]
    given_D: NDArray[np.bool_]
    true_N: Floats
    overlap_N: Floats

    def precision(self, weights_RN: Floats, overlaps: slice) -> Floats:
        """Return the average precision [R], the mean over some overlaps, with pictures weighted (NaN: no true box).

        COCO's: the best precision at or beyond each of 101 recalls.
        """
        weights_RD = weights_RN[:, self.picture_D]
        told_RD, true_R = weights_RD.cumsum(axis=1), weights_RN @ self.true_N
        sums_R = np.zeros(len(weights_RN))
        chosen_TD = self.found_TD[overlaps]
        for found_D in chosen_TD:
            hits_RD = (weights_RD * found_D).cumsum(axis=1)
            share_RD = np.nan_to_num(divide(hits_RD, told_RD))
            best_RD = np.maximum.accumulate(share_RD[:, ::-1], axis=1)[:, ::-1]
            for r, (hits_D, best_D, true) in enumerate(zip(hits_RD, best_RD, true_R, strict=True)):
                at = np.searchsorted(hits_D / max(true, 1.0), _RECALLS, side="left")
                sums_R[r] += best_D[at[at < len(best_D)]].sum() / len(_RECALLS)
        return np.where(true_R > 0, sums_R / len(chosen_TD), np.nan)


def tally_boxes(truths: Sequence[Marked], told: Sequence[Marked | None]) -> list[Tally]:
    """Return F1, average precision, the mean IoU over true boxes (with the best answer of their label; 0: none),
    precision and recall. All boxes are counted together but for average precision, the mean over labels."""
    rankings = rank_boxes(tuple(truths), tuple(told))
    overlap_N = sum((ranking.overlap_N for ranking in rankings), np.zeros(len(truths)))
    counts_N4 = np.column_stack([count_boxes(truths, told), overlap_N])
    scored_N = np.ones(len(truths), dtype=np.bool_)

    def tally(metric: Metric, above: Sequence[float], below: Sequence[float]) -> Tally:
        return Tally(metric, counts_N4, lambda sums: divide(sums @ np.array(above), sums @ np.array(below)), scored_N)

    return [
        tally(F1, (2, 0, 0, 0), (0, 1, 1, 0)),
        _tally_precision(MAP50, rankings, slice(0, 1), len(truths)),
        _tally_precision(MAP, rankings, slice(None), len(truths)),
        tally(OVERLAP, (0, 0, 0, 1), (0, 0, 1, 0)),
        tally(PRECISION, (1, 0, 0, 0), (0, 1, 0, 0)),
        tally(RECALL, (1, 0, 0, 0), (0, 0, 1, 0)),
    ]


def tally_nearness(truths: Sequence[Marked], told: Sequence[Marked | None]) -> Tally:
    """Return F1 with every true box counted by its best IoU in place of 0 or 1: what grows before boxes are right."""
    overlap_N = sum((ranking.overlap_N for ranking in rank_boxes(tuple(truths), tuple(told))), np.zeros(len(truths)))
    rows_N3 = np.column_stack([overlap_N, count_boxes(truths, told)[:, 1:]])

    def value(sums_R3: Floats) -> Floats:
        return divide(2 * sums_R3[:, 0], sums_R3[:, 1] + sums_R3[:, 2])

    return Tally(NEARNESS, rows_N3, value, np.ones(len(truths), dtype=np.bool_))


def credit_boxes(truths: Sequence[Marked], told: Sequence[Marked | None]) -> list[float]:
    """Return each picture's F1 at IoU 0.5 over its own boxes; 1 where there is none, and none is told."""
    counts_N3 = count_boxes(truths, told)
    both_N = counts_N3[:, 1] + counts_N3[:, 2]
    return [float(credit) for credit in np.where(both_N == 0, 1.0, divide(2 * counts_N3[:, 0], both_N))]


def count_boxes(truths: Sequence[Marked], told: Sequence[Marked | None]) -> Floats:
    """Return for each picture how many answers found a true box at IoU 0.5, how many were given, how many are true."""
    counts_N3 = np.zeros((len(truths), 3))
    for ranking in rank_boxes(tuple(truths), tuple(told)):
        np.add.at(counts_N3[:, 0], ranking.picture_D[ranking.found_TD[0] & ranking.given_D], 1)
    counts_N3[:, 1] = [len(one.answers) if one else 0 for one in told]
    counts_N3[:, 2] = [len(truth.boxes) for truth in truths]
    return counts_N3


@lru_cache(maxsize=64)
def rank_boxes(truths: tuple[Marked, ...], told: tuple[Marked | None, ...]) -> tuple[Ranking, ...]:
    """Return the ranking of each label that a true box has."""
    labels = sorted({box.label for truth in truths for box in truth.boxes})
    evaluator = match_coco(truths, told, labels)
    rankings = []
    for k, label in enumerate(labels):
        found = [one for one in evaluator.evalImgs[k * len(truths) : (k + 1) * len(truths)] if one]
        order_D = np.argsort(-np.concatenate([one["dtScores"] for one in found]), kind="mergesort")
        picture_D = np.concatenate([np.full(len(one["dtIds"]), one["image_id"], dtype=np.int64) for one in found])
        given = [[evaluator.cocoDt.anns[id]["given"] for id in one["dtIds"]] for one in found]
        given_D = np.array([each for row in given for each in row], dtype=np.bool_)
        found_TD = np.hstack([one["dtMatches"] > 0 for one in found])
        true_N = np.array([sum(box.label == label for box in truth.boxes) for truth in truths], dtype=np.float64)
        overlap_N = np.zeros(len(truths))
        for one, row in zip(found, given, strict=True):
            if any(row) and len(one["gtIds"]):
                overlap_N[one["image_id"]] = evaluator.ious[one["image_id"], k][row].max(axis=0).sum()
        rankings.append(Ranking(picture_D[order_D], found_TD[:, order_D], given_D[order_D], true_N, overlap_N))
    return tuple(rankings)


def match_coco(truths: Sequence[Marked], told: Sequence[Marked | None], labels: Sequence[str]) -> Any:
    """Return pycocotools' evaluator after it has matched; pictures are known by their places, labels by theirs."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    held, found = COCO(), COCO()
    true_boxes = [(n, box, 1.0, True) for n, truth in enumerate(truths) for box in truth.boxes]
    told_boxes = [
        (n, box, sure, given)
        for n, one in enumerate(told)
        if one
        for box, sure, given in zip(one.boxes, one.sure, one.given, strict=True)
        if box.label in labels
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        for known, boxes in ((held, true_boxes), (found, told_boxes)):
            known.dataset = {
                "images": [{"id": n} for n in range(len(truths))],
                "categories": [{"id": k, "name": label} for k, label in enumerate(labels)],
                "annotations": [_annotate(id, *each, labels) for id, each in enumerate(boxes, 1)],
            }
            known.createIndex()
        evaluator = COCOeval(held, found, "bbox")
        evaluator.params.maxDets, evaluator.params.areaRng, evaluator.params.areaRngLbl = [_MOST], [[0, 1e10]], ["all"]
        evaluator.evaluate()
    return evaluator


def _annotate(id: int, picture: int, box: Box, sure: float, given: bool, labels: Sequence[str]) -> dict[str, Any]:
    x0, y0, x1, y1 = box.xyxy
    return {
        "id": id,
        "image_id": picture,
        "category_id": labels.index(box.label),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "score": sure,
        "iscrowd": 0,
        "given": given,
    }


def _tally_precision(metric: Metric, rankings: Sequence[Ranking], overlaps: slice, pictures: int) -> Tally:
    """Return the tally of the mean over labels: a picture's row says which it is, so that summed rows are weights."""

    def value(weights_RN: Floats) -> Floats:
        parts = []
        for first in range(0, len(weights_RN), _ROWS):
            each_LR = np.stack([one.precision(weights_RN[first : first + _ROWS], overlaps) for one in rankings])
            told_R = (~np.isnan(each_LR)).sum(axis=0)
            parts.append(divide(np.nansum(each_LR, axis=0), told_R.astype(np.float64)))
        return np.concatenate(parts)

    return Tally(metric, np.eye(pictures), value, np.ones(pictures, dtype=np.bool_), DRAWS)
