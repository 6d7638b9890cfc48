"""A picture, the places marked in it and those that a model told in; the picture with both drawn on it out."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from residency.types import Box, Outline

TRUE, TOLD = "#22b573", "#ff8c1a"
"""Green and orange, told apart by the colour-blind too; what is told is drawn thinner, so that both are seen."""


def draw_places(
    picture: Image.Image,
    scale: float,
    true: tuple[Sequence[Box], Sequence[Outline]],
    told: tuple[Sequence[Box], Sequence[Outline]],
) -> None:
    """Draw boxes and outlines, in pixels of the original, on a picture that is `scale` times as large."""
    draw = ImageDraw.Draw(picture)
    for (boxes, outlines), colour, width in ((true, TRUE, 3), (told, TOLD, 1)):
        for box in boxes:
            x0, y0, x1, y1 = (float(side) for side in np.array(box.xyxy) * scale)
            draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)
            draw.text((x0 + 3, y0 if colour == TRUE else max(y0, y1 - 12)), box.label, fill=colour)
        for outline in outlines:
            ring = [(float(x), float(y)) for x, y in np.array(outline.points) * scale]
            draw.line([*ring, ring[0]], fill=colour, width=width)
