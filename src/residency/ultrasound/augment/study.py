"""Ultrasound augmentation that keeps every answer true: a picture, its samples and a generator in, the same out.

After ultrasound's own ways to vary: machine settings, tissue on the way, and how the probe was held.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from residency.types import Sample
from residency.ultrasound.augment import grey, move
from residency.ultrasound.augment.carry import carry_sample, grades_picture, keep_sides
from residency.ultrasound.augment.marks import read_marked
from residency.ultrasound.augment.sector import Levels, Mask, Sector, find_sector

Kept = Literal["grey levels", "geometry", "sides", "spacing", "quality"]
GreyChange = Callable[[Levels, Sector, Generator, float], Levels]
Movement = Callable[[Sector, tuple[float, float], Generator], move.Move | None]

GRADED_SHARE = 0.5
"""What every grey strength is multiplied by where a sample of the picture speaks of its quality."""
MEAN_DB = 6.0
"""Largest change of the sector's mean level by all grey changes together, in dB; the half where quality is graded."""


@dataclass(frozen=True)
class Transform:
    """One way to vary a picture: how often it is drawn, how strong it may be, what it leaves true, and whose it is.

    `keeps` names what stays: grey levels (moved at most), geometry (every pixel's place), sides, spacing_mm, and the
    quality grade that a sonographer gives. What is not kept is carried by the samples, or the change is refused.
    """

    name: str
    odds: float
    strength: str
    keeps: tuple[Kept, ...]
    source: str
    grey: GreyChange | None = None
    movement: Movement | None = None


STILL: tuple[Kept, ...] = ("geometry", "sides", "spacing", "quality")
TRANSFORMS: tuple[Transform, ...] = (
    Transform(
        "flip", 0.5, "mirrored", ("grey levels", "spacing", "quality"), "the probe turned round", movement=move.flip
    ),
    Transform(
        "zoom",
        0.4,
        f"x {1 / move.ZOOM_RATIO:.2f} to {move.ZOOM_RATIO:.2f}",
        ("grey levels", "sides", "quality"),
        "depth setting; Singla 2022",
        movement=move.zoom,
    ),
    Transform(
        "rotation",
        0.5,
        f"up to {move.ROTATION_DEG:g} degrees",
        ("grey levels", "sides", "spacing", "quality"),
        "the probe rocked",
        movement=move.rotate,
    ),
    Transform(
        "shift",
        0.5,
        f"up to {100 * move.SHIFT_SHARE:g}% of a side",
        ("grey levels", "sides", "spacing", "quality"),
        "the probe slid or pressed",
        movement=move.shift,
    ),
    Transform(
        "blur",
        0.25,
        f"sd up to {100 * grey.BLUR_AXIAL:g}% (axial) and {100 * grey.BLUR_LATERAL:g}% (lateral) of the longer side",
        STILL,
        "lower frequency, wider beam",
        grey=grey.blur,
    ),
    Transform(
        "speckle",
        0.4,
        f"sd up to {grey.SPECKLE_DB:g} dB",
        STILL,
        "other scatterers; Wagner 1983",
        grey=grey.redraw_speckle,
    ),
    Transform(
        "attenuation",
        0.3,
        f"up to {grey.ATTENUATION_DB:g} dB",
        STILL,
        "tissue on the way; Østvik 2021",
        grey=grey.attenuate,
    ),
    Transform(
        "shadow",
        0.2,
        f"up to {grey.SHADOW_DB:g} dB",
        STILL,
        "rib, gas, poor contact; Smistad 2018",
        grey=grey.cast_shadow,
    ),
    Transform(
        "time gain", 0.5, f"up to {grey.TIME_GAIN_DB:g} dB", STILL, "sliders; Singla 2022", grey=grey.change_time_gain
    ),
    Transform("gain", 0.5, f"up to {grey.GAIN_DB:g} dB", STILL, "machine setting", grey=grey.change_gain),
    Transform(
        "haze",
        0.2,
        f"up to {100 * grey.HAZE_LEVEL:g}% of full scale",
        STILL,
        "echoes in fat; Østvik 2021",
        grey=grey.add_haze,
    ),
    Transform(
        "dynamic range",
        0.5,
        f"x {1 / grey.RANGE_RATIO:.2f} to {grey.RANGE_RATIO:.2f}",
        STILL,
        "machine setting",
        grey=grey.change_range,
    ),
)
"""In the order in which they act: how the probe was held, the beam, the tissue, then the machine."""


def augment(
    image: Image.Image,
    sample: Sample,
    rng: Generator,
    *,
    only: Collection[str] | None = None,
    spacing_told: bool = False,
) -> tuple[Image.Image, Sample]:
    """Return `augment_study`'s picture and sample for a picture with one sample."""
    changed, samples = augment_study(image, [sample], rng, only=only, spacing_told=spacing_told)
    return changed, samples[0]


def augment_study(
    image: Image.Image,
    samples: Sequence[Sample],
    rng: Generator,
    *,
    only: Collection[str] | None = None,
    spacing_told: bool = False,
    witnesses: Sequence[Sample] = (),
) -> tuple[Image.Image, list[Sample]]:
    """Return the picture (RGB, same size) after some transforms, and every sample as it is true of it.

    Args:
        image: a picture of any mode.
        samples: all that is asked of it in one batch; a movement that one of them refuses is not made.
        rng: chooses the transforms by their odds, and their strengths.
        only: names of transforms, each of which is then used; None draws.
        spacing_told: the model is told `spacing_mm`, so that sizes can be told from a magnified picture.
        witnesses: further samples of this picture, used as they are: a flip that changes their sides is not made.
    """
    used = [transform for transform in TRANSFORMS if _is_drawn(transform, rng, only)]
    picture = read_marked(image)
    sector = find_sector(picture.bare_HWC.mean(2))
    levels_HWC, carried = picture.bare_HWC, list(samples)
    movements = [transform.movement for transform in used if transform.movement is not None]
    if movements and sector.sure and not (picture.coloured_HW & sector.mask_HW).any():
        steps = [step for movement in movements if (step := movement(sector, _spacing(samples), rng))]
        allowed = [step for step in steps if not step.flipped or keep_sides(witnesses)]
        matrix, carried = _carry_all(allowed, sector, carried, spacing_told=spacing_told)
        if not np.array_equal(matrix, np.eye(3)):
            levels_HWC = move.move_levels(levels_HWC, sector, matrix)
    share = GRADED_SHARE if any(grades_picture(sample) for sample in samples) else 1.0
    still = levels_HWC
    for transform in used:
        if transform.grey is not None:
            levels_HWC = transform.grey(levels_HWC, sector, rng, share)
    free_HW = sector.mask_HW & ~(picture.text_HW | picture.coloured_HW)
    levels_HWC = _limit_mean(still, levels_HWC, free_HW, share)
    return _show(np.where(free_HW[..., None], levels_HWC, picture.levels_HWC)), carried


def _is_drawn(transform: Transform, rng: Generator, only: Collection[str] | None) -> bool:
    drawn = bool(rng.random() < transform.odds)
    return drawn if only is None else transform.name in only


def _spacing(samples: Sequence[Sample]) -> tuple[float, float]:
    return next((sample.spacing_mm for sample in samples if sample.spacing_mm), (1.0, 1.0))


def _carry_all(
    steps: Sequence[move.Move], sector: Sector, samples: list[Sample], *, spacing_told: bool
) -> tuple[NDArray[np.float64], list[Sample]]:
    """Return the product of the movements that all samples allow, and the samples after them."""
    matrix = np.eye(3)
    for step in steps:
        moved = [carry_sample(sample, step, sector, spacing_told=spacing_told) for sample in samples]
        carried = [sample for sample in moved if sample is not None]
        if len(carried) == len(samples):
            matrix, samples = step.matrix @ matrix, carried
    return matrix, samples


def _limit_mean(before: Levels, after: Levels, inside_HW: Mask, share: float) -> Levels:
    """Return the levels with the whole change weakened until their mean changes by no more than MEAN_DB."""
    if not inside_HW.any():
        return after
    change_db = abs(float((after - before)[inside_HW].mean(dtype=np.float64))) * grey.DISPLAY_DB
    if change_db <= share * MEAN_DB:
        return after
    return before + (after - before) * np.float32(share * MEAN_DB / change_db)


def _show(levels_HWC: Levels) -> Image.Image:
    pixels = (levels_HWC * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2))
