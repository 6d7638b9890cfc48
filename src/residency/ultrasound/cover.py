"""Cover a part of a picture: levels and a region in, the levels with the region as speckle of the local mean out.

A black patch would be an object of its own; what stands here instead has the brightness and grain of its surroundings,
so that an answer changes for what is missing and not for what was added.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from residency.ultrasound.augment.grey import speckle_size
from residency.ultrasound.augment.sector import Levels, Mask, Sector

EDGE = 1.5
"""Standard deviation in pixels of the region's soft edge."""
REACH = 0.5
"""How far the surroundings reach, in shares of the region's equivalent radius (at least 3 px)."""


def cover_region(levels_HWC: Levels, sector: Sector, region_HW: Mask, rng: Generator) -> Levels:
    """Return the levels (0 to 1) with what the region holds of the sector replaced by speckle of the local mean.

    Mean and deviation are those of the sector outside the region, weighted by nearness; the grain is the picture's
    own (`speckle_size`).
    """
    region_HW = region_HW & sector.mask_HW
    known_HW = (sector.mask_HW & ~region_HW).astype(np.float32)
    reach = max(3.0, REACH * float(np.sqrt(region_HW.sum() / np.pi)))
    grey_HW = levels_HWC.mean(2)
    mean_HW, square_HW = (_around(values, known_HW, reach) for values in (grey_HW, grey_HW**2))
    deviation_HW = np.sqrt(np.maximum(square_HW - mean_HW**2, 0))
    noise_HW = gaussian_filter(rng.standard_normal(grey_HW.shape), speckle_size(levels_HWC, sector))
    filled_HW = np.clip(mean_HW + deviation_HW * noise_HW / noise_HW.std(), 0, 1)
    share_HW1 = gaussian_filter(region_HW.astype(np.float32), EDGE)[..., None]
    return (levels_HWC * (1 - share_HW1) + filled_HW[..., None] * share_HW1).astype(np.float32)


def _around(values_HW: NDArray[np.floating], known_HW: NDArray[np.floating], reach: float) -> NDArray[np.floating]:
    """Return the mean of the known values about each pixel; far from all of them their overall mean takes over."""
    overall = float((values_HW * known_HW).sum() / max(float(known_HW.sum()), 1.0))
    weight_HW = gaussian_filter(known_HW, reach) + 1e-3
    return (gaussian_filter(values_HW * known_HW, reach) + 1e-3 * overall) / weight_HW
