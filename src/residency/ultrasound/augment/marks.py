"""What a machine burned into a picture: its pixels in, the marks' places and the picture without them out.

Text is told from tissue by its strokes, one or two pixels wide and close together; calipers, logos and coloured text by
their colour. Grey calipers are taken for tissue and move with what they measure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from residency.ultrasound.augment.sector import Levels, Mask, lowest

STROKE = 0.2
"""How much lighter than beside it, in shares of full scale, a stroke is."""
CROWDED = 0.12
"""The share of strokes in a square of 11 pixels (256 wide) that makes them text."""
TEXT_SHARE = 0.02
"""More than this share of the picture is no text but a texture as fine."""
COLOURED = 0.2
"""A pixel whose channels differ by more (of full scale) is coloured."""
COLOUR_SHARE = 0.03
"""Colour in more than this share of the picture is no mark but a part of it: Doppler, a photograph."""


@dataclass(frozen=True)
class Marked:
    """A picture's levels (H, W, C), 0 to 1, one channel where it is grey, and its marks.

    `bare_HWC` are the levels with text taken away; `text_HW` and `coloured_HW` where marks are.
    """

    levels_HWC: Levels
    bare_HWC: Levels
    text_HW: Mask
    coloured_HW: Mask


def read_marked(image: Image.Image) -> Marked:
    """Return a picture of any mode as levels and marks."""
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    coloured = np.zeros(pixels.shape[:2], bool)
    if pixels.ndim == 3:
        apart = pixels.max(2) - pixels.min(2)
        if apart.any():
            coloured = apart > 255 * COLOURED
            grey = np.asarray(image.convert("L"))
        else:
            pixels = grey = np.ascontiguousarray(pixels[..., 0])
    else:
        grey = pixels
    levels: Levels = np.atleast_3d(pixels).astype(np.float32) / np.float32(255)
    text, under = _find_text(grey)
    bare = np.where(text[..., None], under[..., None].astype(np.float32) / np.float32(255), levels)
    return Marked(levels, bare, text, coloured if coloured.mean() < COLOUR_SHARE else np.zeros_like(coloured))


def _find_text(grey_HW: NDArray[np.uint8]) -> tuple[Mask, NDArray[np.uint8]]:
    """Return where text is, and the picture under it: its opening, which holds nothing as thin as a stroke."""
    wide = 3 if max(grey_HW.shape) <= 480 else 5
    opened = ~lowest(~lowest(grey_HW, wide), wide)
    strokes = grey_HW - opened > 255 * STROKE
    crowd = uniform_filter(strokes.astype(np.float32), 11 if wide == 3 else 19)
    text = strokes & (crowd > CROWDED)
    return (text if text.mean() < TEXT_SHARE else np.zeros_like(text)), opened
