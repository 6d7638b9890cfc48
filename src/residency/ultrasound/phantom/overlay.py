"""What the machine burns into a picture: depth ticks, gray bar, text, calipers; an image in, the same image marked."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from residency.ultrasound.phantom.fan import Fan
from residency.ultrasound.phantom.shapes import Points
from residency.ultrasound.phantom.sites import Look


@dataclass(frozen=True)
class Marks:
    """What to burn in: pairs of caliper points and dotted outlines in pixels, and a phrase that tells the answer."""

    calipers: tuple[Points, ...] = ()
    dotted: tuple[Points, ...] = ()
    telling: str | None = None


def burn_in(image: NDArray[np.uint8], fan: Fan, look: Look, marks: Marks, rng: Generator) -> NDArray[np.uint8]:
    """Return the image with ticks, text and calipers drawn on it."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    if look.ticks != "none":
        _draw_ticks(pen, fan, look.ticks)
    if rng.random() < 0.4:
        _draw_bar(pen, fan, rng)
    if look.text != "none" or marks.telling:
        _draw_text(pen, fan, look, marks.telling, rng)
    for points in marks.calipers:
        for x, y in points:
            pen.line((x - 2, y, x + 2, y), 235)
            pen.line((x, y - 2, x, y + 2), 235)
    for points in marks.dotted:
        pen.point([(float(x), float(y)) for x, y in points], 225)
    return np.asarray(picture)


def _draw_ticks(pen: ImageDraw.ImageDraw, fan: Fan, side: str) -> None:
    """Draw a tick each 10 mm of depth, a longer one each 50 mm."""
    for count in range(int(fan.depth_mm // 10) + 1):
        long = 5 if count % 5 == 0 else 2
        if side == "top":
            x = (count * 10 - fan.depth_mm / 2) / fan.spacing_mm + fan.width / 2
            pen.line((x, 0, x, long), 170)
            continue
        y = float(fan.to_pixels(np.array([[0.0, count * 10.0]]))[0, 1])
        x = 0 if side == "left" else fan.width - long - 1
        pen.line((x, y, x + long, y), 170)


def _draw_bar(pen: ImageDraw.ImageDraw, fan: Fan, rng: Generator) -> None:
    x, top, tall = int(rng.choice([2, fan.width - 6])), int(0.08 * fan.height), int(rng.uniform(0.15, 0.4) * fan.height)
    for row in range(tall):
        pen.line((x, top + row, x + 3, top + row), int(255 * (1 - row / tall)))


def _draw_text(pen: ImageDraw.ImageDraw, fan: Fan, look: Look, telling: str | None, rng: Generator) -> None:
    font = _font(int(rng.integers(7, 10)))
    lines = [look.machine, f"{rng.integers(9, 40)} Hz", f"Gn {rng.integers(-6, 70)}", f"DR {rng.integers(40, 90)}"]
    lines += [f"MI {rng.uniform(0.5, 1.3):.1f}", f"FR {rng.integers(10, 60)}", f"P {rng.integers(80, 100)}%"]
    shown = lines[: int(rng.integers(1, len(lines)))] if look.text != "none" else []
    if telling:
        shown.append(telling)
    shade = int(rng.integers(130, 230))
    if look.text in ("top", "bottom"):
        pen.text((3, 2 if look.text == "top" else fan.height - 12), "  ".join(shown), shade, font=font)
        return
    for row, line in enumerate(shown):
        x = 8.0 if look.text == "left" else fan.width - 4 - pen.textlength(line, font=font)
        pen.text((x, 3 + 9 * row), line, shade, font=font)


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
