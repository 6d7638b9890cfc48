"""Heat maps: a model and samples with the answers it gave in, where in the image the evidence for each lay out.

Each place is covered in turn and counts by what the answer's log-likelihood loses (occlusion: Zeiler and Fergus, ECCV
2014). It needs nothing but answers, so it serves every family. Following the gradient to the tower's map is quicker,
but marked no better than chance (docs/log.md).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from residency.explain.picture import Picture
from residency.models.registry import Opened
from residency.types import Sample

Heat = NDArray[np.float32]
GRID = 7
"""The picture is covered in GRID x GRID places, each a cell and half of its neighbours."""


def go_on() -> None:
    """Do nothing between two steps."""


def map_answers(
    opened: Opened, samples: Sequence[Sample], picture: Picture, seed: int = 0, between: Callable[[], None] = go_on
) -> list[Heat]:
    """Return for each answer (the sample's `suffix`) about one picture a map (GRID, GRID) over it, 0 to 1.

    A map of zeros says that no place speaks for the answer. `seed`: of the speckle that covers. `between` is called
    after each place, for a model that has more urgent work.
    """
    rng = np.random.default_rng(seed)
    row_H, column_W = (np.arange(side) / side * GRID for side in picture.levels_HWC.shape[:2])
    covered = []
    for row in range(GRID):
        for column in range(GRID):
            near_H, near_W = np.abs(row_H - row - 0.5) < 1, np.abs(column_W - column - 0.5) < 1
            covered.append(picture.cover(near_H[:, None] & near_W[None], rng))
            between()
    whole_B, *without_KB = weigh_answers(opened, samples, [picture.image, *covered], between)
    lost_Bhw = np.maximum(whole_B - np.array(without_KB), 0).T.reshape(-1, GRID, GRID)
    return [(lost_hw / (lost_hw.max() or 1)).astype(np.float32) for lost_hw in lost_Bhw]


def weigh_answers(
    opened: Opened,
    samples: Sequence[Sample],
    pictures: Sequence[Image.Image],
    between: Callable[[], None] = go_on,
) -> NDArray[np.float64]:
    """Return each answer's log-likelihood in nats (pictures, samples), each picture put in the place of theirs."""
    family, loaded = opened.family, opened.loaded
    loaded.model.eval()
    answers = [[sample.suffix or ""] for sample in samples]
    weighed = []
    for picture in pictures:
        with torch.inference_mode():
            batch = family.encode(loaded, samples, with_answers=False, images={samples[0].image: picture})
            batch = batch.to(loaded.device)
            scores = family.score(loaded, batch, family.see(loaded, batch.pixels_MCHW), answers)
        weighed.append([float(score) for score in scores])
        between()
    return np.array(weighed)
