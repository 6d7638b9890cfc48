"""Runs trained on more and more images in; the learning curve, and how many more images a target needs, out.

error(n) = floor + scale n^-power, floor and scale at least 0 (Hestness 2017, arXiv 1712.00409), fitted to the mean
credit of all runs on the same test answers. Every resample of patients gives all runs' scores at once and a fit of its
own; each run's score also wobbles by what the fit leaves unexplained, so that the uncertainty holds chance in training
too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from residency.data.take import learned_samples
from residency.errors import UserError
from residency.evaluate.bootstrap import draw_sums, interval, sum_groups
from residency.evaluate.contest import Entered, enter_all, shared_samples
from residency.evaluate.gather import gather_answers
from residency.evaluate.metric import Floats
from residency.evaluate.overall import groups_of, tally_credit
from residency.evaluate.records import Hashes
from residency.types import Record, SplitName

POWERS = np.linspace(0.1, 1.5, 29)
FEWEST_SIZES = 3
AHEAD = 4.0
MOST_IMAGES = 100_000_000.0


class Point(Record):
    """A run: how many annotated images it learned from, and its mean credit."""

    run: str
    images: int
    score: float
    low: float | None
    high: float | None


class Ahead(Record):
    """What the curve expects of a number of images, with a 95% interval."""

    images: int
    score: float
    low: float | None
    high: float | None


class LearningCurve(Record):
    """The runs, the fit 1 - (floor + scale n^-power), and what it expects; a target's images and who never reach it."""

    items: int
    groups: int
    draws: int
    seed: int
    points: tuple[Point, ...]
    floor: float
    scale: float
    power: float
    ahead: tuple[Ahead, ...]
    target: float | None = None
    images: int | None = None
    more: int | None = None
    low: int | None = None
    high: int | None = None
    never: float | None = None
    told: str = ""
    hashes: tuple[Hashes, ...]


def extrapolate(
    runs: Sequence[Path], target: float | None, data: Path | None = None, split: SplitName = "test",
    draws: int = 1000, seed: int = 0,
) -> LearningCurve:  # fmt: skip
    """Fit the curve of three or more runs and say how many more images a target needs.

    Raises:
        UserError: fewer than three sizes of training sets, no shared test answers, or a target that is no share.
    """
    if target is not None and not 0 < target < 1:
        raise UserError("--target is no mean credit", found=target, allowed="above 0 and below 1, such as 0.8")
    entered = enter_all(runs, data, split)
    images_M = np.array([count_images(one) for one in entered], dtype=np.float64)
    if len(set(images_M)) < FEWEST_SIZES:
        raise UserError(
            "a learning curve needs three sizes of training sets",
            found=[f"{one.shown.name}: {count:.0f} images" for one, count in zip(entered, images_M, strict=True)],
            do="train on fewer images as well, examined on the same test split",
        )
    samples, _ = shared_samples(entered)
    made = {str(place): [one.made[s.id] for s in samples] for place, one in enumerate(entered)}
    dataset = entered[0].dataset
    answers = gather_answers(samples, made, dataset.questionnaire, dataset.folder)
    groups = groups_of(answers)
    if not groups:
        raise UserError("these answers have no mean credit", found="numbers alone")
    rows_ND = np.hstack([tally_credit(answers, str(place)).rows_ND for place in range(len(entered))])
    sums_GD = sum_groups(rows_ND, groups)
    scores_M = _scores(sums_GD.sum(axis=0, keepdims=True))[0]
    drawn_RM = _scores(draw_sums(sums_GD, draws, seed))
    fit = fit_power(images_M, 1 - scores_M[None])[0]
    left_M = scores_M - (1 - predict_error(fit[None], images_M)[0])
    wobble = float(np.sqrt((left_M**2).sum() / max(1, len(left_M) - 3)))
    noisy_RM = drawn_RM + np.random.default_rng(seed).normal(0, wobble, drawn_RM.shape)
    fits_R3 = fit_power(images_M, 1 - noisy_RM)
    ends = [interval(drawn_RM[:, place], len(sums_GD)) for place in range(len(entered))]
    order = np.argsort(images_M, kind="stable")
    curve = LearningCurve(
        items=len(samples),
        groups=len(sums_GD),
        draws=draws,
        seed=seed,
        points=tuple(
            Point(run=entered[m].shown.name, images=int(images_M[m]), score=float(scores_M[m]), low=ends[m][0],
                  high=ends[m][1]) for m in order
        ),
        floor=float(fit[0]),
        scale=float(fit[1]),
        power=float(fit[2]),
        ahead=tuple(_ahead(fit, fits_R3, n, len(sums_GD)) for n in _grid(images_M)),
        hashes=tuple(one.shown.hashes for one in entered),
    )  # fmt: skip
    return curve if target is None else _aim(curve, fit, fits_R3, target, int(images_M.max()))


def count_images(one: Entered) -> int:
    """Return how many annotated images a contestant's model learned from: those of its fold's training split."""
    folds = {prediction.fold for prediction in one.made.values()}
    if not one.dataset.splits:
        return 0
    last = len(one.dataset.splits.folds) - 1
    counts = [
        len({sample.image for sample in learned_samples(one.dataset, one.recipe, min(fold, last))}) for fold in folds
    ]
    return round(float(np.mean(counts)))


def fit_power(images_M: Floats, errors_RM: Floats) -> Floats:
    """Return floor, scale and power of each row of errors, [R, 3]: least squares, floor and scale at least 0."""
    best_R3, least_R = np.zeros((len(errors_RM), 3)), np.full(len(errors_RM), np.inf)
    for power in POWERS:
        x_M = images_M**-power
        centred_M = x_M - x_M.mean()
        scale_R = np.maximum(((errors_RM - errors_RM.mean(axis=1, keepdims=True)) * centred_M).sum(axis=1), 0)
        scale_R /= (centred_M**2).sum()
        floor_R = errors_RM.mean(axis=1) - scale_R * x_M.mean()
        through_R = np.maximum((errors_RM * x_M).sum(axis=1) / (x_M**2).sum(), 0)
        scale_R, floor_R = np.where(floor_R < 0, through_R, scale_R), np.maximum(floor_R, 0)
        lost_R = ((errors_RM - floor_R[:, None] - scale_R[:, None] * x_M) ** 2).sum(axis=1)
        better_R = lost_R < least_R
        best_R3[better_R] = np.stack([floor_R, scale_R, np.full(len(scale_R), power)], axis=1)[better_R]
        least_R = np.minimum(least_R, lost_R)
    return best_R3


def predict_error(fits_R3: Floats, images_M: Floats) -> Floats:
    """Return the error of each fit at each number of images, [R, M]."""
    return fits_R3[:, :1] + fits_R3[:, 1:2] * images_M[None, :] ** -fits_R3[:, 2:]


def images_for(fits_R3: Floats, error: float) -> Floats:
    """Return how many images bring each fit's error down to `error` (infinite: it never gets there)."""
    room_R = error - fits_R3[:, 0]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        needed_R = np.where(room_R > 0, (fits_R3[:, 1] / room_R) ** (1 / fits_R3[:, 2]), np.inf)
    return np.where(needed_R > MOST_IMAGES, np.inf, needed_R)


def _aim(curve: LearningCurve, fit: Floats, fits_R3: Floats, target: float, most: int) -> LearningCurve:
    needed, needed_R = float(images_for(fit[None], 1 - target)[0]), images_for(fits_R3, 1 - target)
    low, high = np.quantile(needed_R, [0.025, 0.975], method="nearest")
    never = float(np.isinf(needed_R).mean())
    more = None if np.isinf(needed) else max(0, int(np.ceil(needed)) - most)
    reach = "is out of reach of this curve" if more is None else f"needs {more:,} more annotated images"
    upper = "no upper end" if np.isinf(high) else f"{max(0, int(high) - most):,}"
    least = "no end" if np.isinf(low) else f"{max(0, int(low) - most):,}"
    told = f"A mean credit of {target:g} {reach} [{least} to {upper}]; {never:.0%} of resamples never reach it."
    return curve.model_copy(
        update={
            "target": target,
            "images": None if np.isinf(needed) else int(np.ceil(needed)),
            "more": more,
            "low": None if np.isinf(low) else int(low),
            "high": None if np.isinf(high) else int(high),
            "never": never,
            "told": told,
        }
    )


def _scores(sums_RD: Floats) -> Floats:
    return sums_RD[:, 0::2] / sums_RD[:, 1::2]


def _grid(images_M: Floats) -> list[int]:
    return sorted({round(float(n)) for n in np.geomspace(images_M.min(), AHEAD * images_M.max(), 24)})


def _ahead(fit: Floats, fits_R3: Floats, images: int, groups: int) -> Ahead:
    at_M = np.array([float(images)])
    low, high = interval(1 - predict_error(fits_R3, at_M)[:, 0], groups)
    return Ahead(images=images, score=float(1 - predict_error(fit[None], at_M)[0, 0]), low=low, high=high)
