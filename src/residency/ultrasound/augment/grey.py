"""Changes of grey levels: a picture's levels and its sector in, levels as another machine or patient shows them out.

A machine shows decibels: full scale is DISPLAY_DB wide, so an attenuation is a subtraction. Black stays black, for
below the display's floor nothing is known. `share` (0 to 1) scales every strength down.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates, uniform_filter1d

from residency.ultrasound.augment.sector import Levels, Sector, spread

DISPLAY_DB = 60.0
"""The dynamic range that full scale is taken to show, in dB: machines are set to 50 to 70."""
TOE = 0.1
"""Levels (0 to 1) below this change the less, the darker they are."""
FAINTEST = 0.4
"""What a change leaves of a level at least: dark tissue stays to be seen."""
GAIN_DB = 6.0
"""Largest change of the overall gain, in dB either way; the weakest simulated `low gain` is 6.8 dB."""
TIME_GAIN_DB = 5.0
"""Largest deviation of the time-gain curve, in dB either way; its mean over depth is 0."""
SLIDERS = 6
"""Sliders of the time-gain curve, evenly spaced in depth."""
ATTENUATION_DB = 8.0
"""Largest further loss at the far end, in dB (two-way), growing evenly with depth."""
RANGE_RATIO = 1.4
"""Largest ratio of the shown dynamic range to the picture's own, or its inverse; the mean level stays."""
SPECKLE_DB = 2.0
"""Largest standard deviation of the redrawn speckle, in dB; fully developed speckle has 5.6 (Rayleigh)."""
SHADOW_DB = 10.0
"""Largest loss in a shadow, in dB (two-way); at 18 a simulated structure counts as lost."""
SHADOW_WIDTH = 0.18
"""Largest half width of a shadow, in shares of the sector's half angle."""
HAZE_LEVEL = 0.12
"""Largest veil at the probe's face, in shares of full scale."""
HAZE_DEPTH = 0.25
"""Depth in which the veil falls to a third, in shares of the sector's depth."""
BLUR_AXIAL = 0.0035
"""Largest standard deviation of the blur along depth, in shares of the longer side: 0.9 px of 256."""
BLUR_LATERAL = 0.006
"""Largest standard deviation of the blur across depth, in shares of the longer side: 1.5 px of 256."""


def add_decibels(levels_HWC: Levels, change_db: NDArray[np.floating] | float) -> Levels:
    """Return the levels after so many dB, a number or (H, W); black stays black, and nothing faint is lost."""
    step = np.asarray(change_db, np.float32)[..., None] / np.float32(DISPLAY_DB)
    changed = levels_HWC + step * np.minimum(levels_HWC / np.float32(TOE), 1)
    return np.clip(changed, np.float32(FAINTEST) * levels_HWC, 1)


def change_gain(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture at another overall gain."""
    return add_decibels(levels_HWC, share * rng.uniform(-GAIN_DB, GAIN_DB))


def change_time_gain(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture with the time-gain sliders moved: a smooth curve along depth."""
    sliders = rng.uniform(-1, 1, SLIDERS)
    fine = np.interp(np.linspace(0, SLIDERS - 1, 129), np.arange(SLIDERS), sliders)
    curve = gaussian_filter1d(fine, 8.0, mode="nearest")
    curve -= curve.mean()
    curve *= share * TIME_GAIN_DB / max(1.0, float(np.abs(curve).max()))
    return add_decibels(levels_HWC, curve.astype(np.float32)[(sector.depth_HW * 128).astype(np.int16)])


def attenuate(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture behind tissue that weakens sound more: darker with depth."""
    return add_decibels(levels_HWC, np.float32(-share * rng.uniform(0.2, 1) * ATTENUATION_DB) * sector.depth_HW)


def change_range(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture at another dynamic range: contrast about the sector's mean level."""
    ratio = float(np.exp(share * rng.uniform(-1, 1) * np.log(RANGE_RATIO)))
    mean = levels_HWC[sector.mask_HW].mean(dtype=np.float64) if sector.mask_HW.any() else 0.5
    step = (levels_HWC - np.float32(mean)) * np.float32(1 / ratio - 1)
    changed = levels_HWC + step * np.minimum(levels_HWC / np.float32(TOE), 1)
    return np.clip(changed, np.float32(FAINTEST) * levels_HWC, 1)


def redraw_speckle(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture with further speckle: Rayleigh noise along the beams, correlated as the picture's own is.

    Drawn in probe coordinates, so that it widens with depth as speckle does (Wagner 1983, IEEE Trans. Sonics
    Ultrason. 30:156); in dB, so that it is additive (Fisher-Tippett).
    """
    axial, lateral = speckle_size(levels_HWC, sector)
    rows = int(np.clip(sector.far - sector.near, 16, 640))
    beams = int(np.clip(sector.half_angle * (sector.near + sector.far), 16, 640))
    parts = rng.standard_normal((2, rows, beams), np.float32)
    parts = gaussian_filter1d(gaussian_filter1d(parts, axial, 1, truncate=2.5), lateral, 2, truncate=2.5)
    power = parts[0] ** 2 + parts[1] ** 2
    noise_db = np.float32(10) * np.log10(power / power.mean() + np.float32(0.02))
    noise_db -= noise_db.mean()
    noise_db *= np.float32(share * rng.uniform(0.3, 1) * SPECKLE_DB / noise_db.std())
    places = [sector.depth_HW * (rows - 1), (sector.across_HW + 1) * np.float32((beams - 1) / 2)]
    return add_decibels(
        levels_HWC, map_coordinates(noise_db, places, order=1, mode="reflect", prefilter=False, output=np.float32)
    )


def speckle_size(levels_HWC: Levels, sector: Sector) -> tuple[float, float]:
    """Return the standard deviations in pixels, down and across, of the blur that gives the picture's fine texture.

    From the correlation of neighbours: the intensity of blurred complex noise has exp(-1 / (2 sd^2)).
    """
    grey = levels_HWC[..., 0]
    fine = grey - uniform_filter1d(uniform_filter1d(grey, 15, 0), 15, 1)
    fine = fine * sector.mask_HW
    power = float((fine * fine).sum()) + 1e-9
    down, across = float((fine[1:] * fine[:-1]).sum()) / power, float((fine[:, 1:] * fine[:, :-1]).sum()) / power
    sizes = [float(np.sqrt(-0.5 / np.log(np.clip(value, 0.05, 0.98)))) for value in (down, across)]
    return float(np.clip(sizes[0], 0.5, 4.0)), float(np.clip(sizes[1], 0.5, 5.0))


def cast_shadow(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture behind a weak reflector (a rib, gas, poor contact): a darker wedge of beams from the apex."""
    middle, width = rng.uniform(-0.85, 0.85), rng.uniform(0.3, 1) * SHADOW_WIDTH
    start, ramp = rng.uniform(-0.05, 0.35), rng.uniform(0.08, 0.2)
    wander = 0.25 * width * np.sin(rng.uniform(4, 14) * sector.depth_HW + rng.uniform(0, 2 * np.pi))
    beam = np.abs((sector.across_HW - np.float32(middle) + wander.astype(np.float32)) / np.float32(width))
    along = np.clip((sector.depth_HW - np.float32(start)) / np.float32(ramp), 0, 1)
    depth_db = share * rng.uniform(0.4, 1) * SHADOW_DB
    return add_decibels(levels_HWC, np.float32(-depth_db) * along / (1 + beam**4))


def add_haze(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture under a smooth veil that is densest at the probe, as reverberation in fat makes it."""
    cloud = spread(0.75 + 0.25 * rng.uniform(-1, 1, (5, 6)), *sector.mask_HW.shape)
    fall = np.exp(-sector.depth_HW / np.float32(HAZE_DEPTH))
    veil = np.float32(share * rng.uniform(0.3, 1) * HAZE_LEVEL) * cloud * fall * sector.mask_HW
    return levels_HWC + veil[..., None] * (1 - levels_HWC)


def blur(levels_HWC: Levels, sector: Sector, rng: Generator, share: float) -> Levels:
    """Return the picture as a lower frequency or a wider beam shows it, softer along and across depth."""
    side = max(levels_HWC.shape[:2])
    axial, lateral = (share * rng.uniform(0.3, 1) * most * side for most in (BLUR_AXIAL, BLUR_LATERAL))
    # Outside the sector is black: averaged over what is inside alone, the rim does not darken.
    mask_HW1 = sector.mask_HW[..., None].astype(np.float32)
    stack = np.concatenate([levels_HWC * mask_HW1, mask_HW1], 2)
    stack = gaussian_filter1d(gaussian_filter1d(stack, axial, 0, truncate=3.0), lateral, 1, truncate=3.0)
    return np.where(mask_HW1 > 0, stack[..., :-1] / np.maximum(stack[..., -1:], 1e-6), levels_HWC)
