"""B-mode physics: a canvas and a machine's settings in, an image with values 0 to 1 in probe coordinates out.

Scatterers get random phase, interfaces add in phase; both pass a point-spread function that widens away from the
focus, are weakened along the beam, lifted again by time gain, and compressed by a logarithm. After Jensen (Field,
1996) in spirit: the PSF here is a separable Gaussian, so that an image takes milliseconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter1d, uniform_filter1d, zoom

from residency.ultrasound.phantom.canvas import Canvas
from residency.ultrasound.phantom.fan import BEAMS, RADIAL
from residency.ultrasound.phantom.shapes import Grid


@dataclass(frozen=True)
class Settings:
    """How one machine is set for one image.

    `axial_mm` and `lateral_mm` are the PSF's standard deviations at the focus, `focus` its depth (0 to 1),
    `widening` how much wider the beam is at the far end; `loss_db` soft tissue's two-way attenuation a mm, of which
    time gain gives back the share `compensation`; `floor_db` electronic noise, `haze` clutter and `echoes`
    reverberation relative to the signal; `range_db` dynamic range, `gain_db`, `gamma` the gray curve, below
    `reject` (0 to 1) black; `compounding` (0 to 1) the share of power averaged over neighbours, `smoothing` (0 to 1)
    speckle reduction, `sharpening` edge enhancement.
    """

    axial_mm: float = 0.35
    lateral_mm: float = 0.8
    focus: float = 0.5
    widening: float = 2.0
    loss_db: float = 0.12
    compensation: float = 1.0
    floor_db: float = -32.0
    haze: float = 0.03
    echoes: float = 0.05
    range_db: float = 58.0
    gain_db: float = 0.0
    gamma: float = 1.1
    reject: float = 0.05
    compounding: float = 0.5
    smoothing: float = 0.3
    sharpening: float = 0.4


@dataclass(frozen=True)
class Degradation:
    """What spoils one image: each 0 (absent) or a strength up to 1. The quality answer says exactly these."""

    shadowing: float = 0.0
    low_gain: float = 0.0
    motion: float = 0.0
    off_plane: float = 0.0

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of what is present, as fetal8 words them."""
        named = {"shadowing": self.shadowing, "low gain": self.low_gain, "motion": self.motion}
        return tuple(name for name, strength in {**named, "off-plane": self.off_plane}.items() if strength > 0)

    @property
    def grade(self) -> str:
        """Good without a factor, low where the strengths sum above 0.85, medium between."""
        total = self.shadowing + self.low_gain + self.motion + self.off_plane
        return "good image quality" if total == 0 else "medium image quality" if total <= 0.85 else "low image quality"


def form_image(canvas: Canvas, settings: Settings, spoiled: Degradation, rng: Generator) -> tuple[Grid, Grid]:
    """Return the image in probe coordinates, 0 to 1, and the shadow above each sample in dB (two-way)."""
    step = np.float32(canvas.fan.step_mm)
    shadow_db = np.cumsum(canvas.block_db, 0) * step
    lost_db = np.cumsum(canvas.loss_db, 0) * step + shadow_db
    lift_db = _time_gain(canvas, settings, rng)
    level = np.float32(10) ** ((lift_db - lost_db) / 20)
    noise = _complex_noise(rng)
    diffuse = np.float32(10) ** (canvas.echo_db / 20) * noise * np.float32(_noise_lift(canvas, settings))
    flicker = np.float32(0.8) + np.float32(0.25) * noise.real
    field = blur_field(level * (diffuse + canvas.glint * flicker), canvas, settings)
    envelope = _compound(np.abs(field), canvas, settings)
    envelope = _reverberate(envelope, settings, rng)
    envelope = envelope + np.float32(settings.haze) * _veil(envelope)
    floor = np.abs(noise[:, ::-1]) * np.float32(10) ** ((np.float32(settings.floor_db) + 0.7 * lift_db) / 20)
    return _compress((envelope + floor).astype(np.float32), settings, spoiled), shadow_db


def polish(image: Grid, settings: Settings, spoiled: Degradation, rng: Generator) -> Grid:
    """Return a scan-converted image after motion, speckle reduction and edge enhancement, 0 to 1."""
    if spoiled.motion:
        image = _move(image, spoiled.motion, rng)
    if settings.smoothing:
        size = 0.4 + 0.7 * settings.smoothing
        soft = gaussian_filter1d(gaussian_filter1d(image, size, 0, truncate=2.5), size, 1, truncate=2.5)
        image = image + np.float32(min(1.0, 1.3 * settings.smoothing)) * (soft - image)
    if settings.sharpening:
        wide = uniform_filter1d(uniform_filter1d(image, 7, 0), 7, 1)
        image = image + np.float32(settings.sharpening) * (image - wide) * (image > 0)
    return np.clip(image, 0, 1)


def _time_gain(canvas: Canvas, settings: Settings, rng: Generator) -> Grid:
    """Return the time gain in dB, (RADIAL, 1): the mean loss given back, and a slider curve a few dB off."""
    depth = canvas.fan.depths
    sliders = rng.normal(0, 1.2, 8)
    curve = np.interp(np.linspace(0, 7, RADIAL), np.arange(8), sliders).astype(np.float32)[:, None]
    share = 0.55 + 0.45 * settings.compensation
    return np.asarray(np.float32(canvas.tissue_loss_db * share) * depth + curve, np.float32)


def _complex_noise(rng: Generator) -> "np.ndarray[tuple[int, int], np.dtype[np.complex64]]":
    draws = rng.standard_normal((2, RADIAL, BEAMS), np.float32)
    return np.asarray(draws[0] + 1j * draws[1], np.complex64)


def _widths(canvas: Canvas, settings: Settings) -> tuple[float, float, float]:
    """Return the PSF's standard deviations in samples: axial, lateral at the focus, lateral far from it."""
    fan = canvas.fan
    beam_mm = 2 * fan.half_angle / BEAMS * (fan.radius_mm + settings.focus * fan.depth_mm)
    lateral = max(settings.lateral_mm / beam_mm, 0.5)
    return max(settings.axial_mm / fan.step_mm, 0.5), lateral, lateral * settings.widening


def _noise_lift(canvas: Canvas, settings: Settings) -> float:
    """Return what undoes the loss of noise power in the blur: the inverse root of the Gaussians' energy."""
    axial, lateral, _ = _widths(canvas, settings)
    return float(np.sqrt(2 * np.sqrt(np.pi) * axial * 2 * np.sqrt(np.pi) * lateral) / np.sqrt(2))


def blur_field(field: Grid, canvas: Canvas, settings: Settings) -> Grid:
    """Return the field blurred along and across the beams, more across them away from the focus."""
    axial, near, far = _widths(canvas, settings)
    field = gaussian_filter1d(field, axial, 0, truncate=2.5)
    narrow = gaussian_filter1d(field, near, 1, truncate=2.5)
    wide = gaussian_filter1d(field, far, 1, truncate=2.5)
    place = np.linspace(0, 1, RADIAL, dtype=np.float32)[:, None]
    share = np.clip(np.abs(place - np.float32(settings.focus)) / np.float32(0.6), 0, 1)
    # The wide blur keeps less of the speckle's power; lift it so that tissue does not darken off the focus.
    lift = np.float32(np.sqrt(far / near) ** 0.7)
    return np.asarray(narrow * (1 - share) + wide * share * lift)


def _compound(envelope: Grid, canvas: Canvas, settings: Settings) -> Grid:
    """Return the envelope with power averaged over a speckle's size, which fills speckle's black zeros."""
    axial, lateral, _ = _widths(canvas, settings)
    rows, columns = 2 * round(1.4 * axial) + 1, 2 * round(1.2 * lateral) + 1
    power = envelope * envelope
    mean = uniform_filter1d(uniform_filter1d(power, rows, 0), columns, 1)
    return np.sqrt(power + np.float32(settings.compounding) * (mean - power))


def _reverberate(envelope: Grid, settings: Settings, rng: Generator) -> Grid:
    """Return the envelope with echoes of its near field repeated deeper, weaker each time."""
    shift = int(rng.uniform(0.03, 0.16) * RADIAL)
    echo = np.float32(settings.echoes)
    result = envelope.copy()
    for times in (1, 2):
        result[times * shift :] += echo**times * envelope[: RADIAL - times * shift]
    return result


def _veil(envelope: Grid) -> Grid:
    """Return the envelope smeared widely, as side lobes and aberration smear it."""
    small = envelope[: RADIAL // 8 * 8, : BEAMS // 8 * 8].reshape(RADIAL // 8, 8, BEAMS // 8, 8).mean((1, 3))
    small = gaussian_filter1d(gaussian_filter1d(small, 1.0, 0), 1.8, 1)
    return np.asarray(zoom(small, (RADIAL / small.shape[0], BEAMS / small.shape[1]), order=1), np.float32)


def _compress(envelope: Grid, settings: Settings, spoiled: Degradation) -> Grid:
    """Return gray values 0 to 1: decibels below a reference, gain, dynamic range, gray curve."""
    db = 20 * np.log10(envelope + np.float32(1e-6))
    bright = float(np.percentile(db[::3, ::3], 99.4))
    reference = 0.75 * bright + 0.25 * 17.0
    gain = settings.gain_db - (4 + 7 * spoiled.low_gain) * (spoiled.low_gain > 0)
    gray = np.clip(1 + (db - np.float32(reference - gain)) / np.float32(settings.range_db), 0, 1)
    gray = np.maximum(gray - np.float32(settings.reject), 0) / np.float32(1 - settings.reject)
    return np.asarray(gray ** np.float32(settings.gamma), np.float32)


def _move(image: Grid, strength: float, rng: Generator) -> Grid:
    """Return the image smeared along a short path, as frames averaged over a movement."""
    reach = 1.5 + 3.5 * strength
    angle = rng.uniform(0, np.pi)
    total = np.zeros_like(image)
    steps = 5
    for place in np.linspace(-1, 1, steps):
        dx, dy = round(place * reach * np.cos(angle)), round(place * reach * np.sin(angle))
        total += np.roll(image, (dy, dx), (0, 1))
    return np.asarray(total / steps * (image > 0), np.float32)
