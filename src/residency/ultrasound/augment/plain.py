"""Augmentation for pictures of any kind: a picture and a generator in, a picture of the same size out.

Only brightness changes (overall, from top to bottom, its curve, noise), below the strength at which a picture would
be graded otherwise; geometry, and with it sides, boxes and millimetres, stays.
"""

import numpy as np
from PIL import Image

GAIN = 0.12
"""Largest change of overall gain, in shares of full scale."""
DEPTH_GAIN = 0.12
"""Largest change of gain between the top and the bottom of the picture, in shares of full scale."""
GAMMA = 0.25
"""Largest change of the brightness curve's exponent, as a logarithm."""
SPECKLE = 0.06
"""Largest deviation of the multiplicative noise."""


def vary_grey(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture (RGB) at another gain, also over its height, another gamma, with noise; black stays."""
    levels_HWC = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    height, width = levels_HWC.shape[:2]
    depth_H11 = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None, None]
    gain_H11 = 1 + rng.uniform(-GAIN, GAIN) + rng.uniform(-DEPTH_GAIN, DEPTH_GAIN) * depth_H11
    speckle_HW1 = 1 + rng.uniform(0, SPECKLE) * rng.standard_normal((height, width, 1), dtype=np.float32)
    changed = levels_HWC ** float(np.exp(rng.uniform(-GAMMA, GAMMA))) * gain_H11 * speckle_HW1
    return Image.fromarray((changed.clip(0, 1) * 255).round().astype(np.uint8))
