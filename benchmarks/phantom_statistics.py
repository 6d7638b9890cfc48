"""Do phantoms look as real ultrasound does? Statistics of simulated and real pictures side by side, by folder.

    python benchmarks/phantom_statistics.py [--images 60] [--data ../shared/data]

Real: `fetal_brain` and `lung_ultrasound`, which the simulator may be held against; never the test folders. Every
statistic is taken at 256 px on the longer side, inside the sector that `residency.ultrasound.augment` finds.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from residency.ultrasound.augment.sector import Sector, find_sector
from residency.ultrasound.phantom import CATEGORIES, SITES, draw_image

SIDE = 256
HEADS = ("trans-thalamic", "trans-cerebellum", "trans-ventricular")
MEASURES: dict[str, Callable[[np.ndarray, Sector], float]] = {
    "sector's share of the picture": lambda levels, sector: float(sector.mask_HW.mean()),
    "sector's opening, degrees": lambda levels, sector: float(np.rad2deg(2 * sector.half_angle)),
    "mean level": lambda levels, sector: float(levels[sector.mask_HW].mean()),
    "contrast (deviation of levels)": lambda levels, sector: float(levels[sector.mask_HW].std()),
    "near black in the sector": lambda levels, sector: float((levels[sector.mask_HW] < 0.06).mean()),
    "near white in the sector": lambda levels, sector: float((levels[sector.mask_HW] > 0.9).mean()),
    "far over near level": lambda levels, sector: _level_ratio(levels, sector),
    "speckle contrast (deviation / mean, 9 px)": lambda levels, sector: _speckle_contrast(levels, sector),
    "speckle height, px": lambda levels, sector: _speckle_size(levels, sector, 0),
    "speckle width, px": lambda levels, sector: _speckle_size(levels, sector, 1),
    "lit outside the sector (text, scales)": lambda levels, sector: (
        float((levels[~sector.mask_HW] > 0.25).mean()) if (~sector.mask_HW).any() else np.nan
    ),
}


def main() -> None:
    """Measure both kinds and print medians with the middle 80%."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="phantoms of each kind")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    kinds = {
        "phantom heads": [_draw(HEADS, k, asked.seed) for k in range(asked.images)],
        "fetal_brain": _read(asked.data / "fetal_brain" / "images"),
        "phantoms, all planes": [_draw(CATEGORIES, k, asked.seed) for k in range(asked.images)],
        "lung_ultrasound": _read(asked.data / "lung_ultrasound"),
    }
    figures = {name: [_measure(picture) for picture in pictures] for name, pictures in kinds.items()}
    print("| statistic | " + " | ".join(f"{name} ({len(found)})" for name, found in figures.items()) + " |")
    print("|---" * (len(kinds) + 1) + "|")
    for row, measure in enumerate(MEASURES):
        cells = []
        for found in figures.values():
            low, middle, high = np.nanpercentile([values[row] for values in found], (10, 50, 90))
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {measure} | " + " | ".join(cells) + " |")


def _draw(categories: Sequence[str], number: int, seed: int) -> Image.Image:
    site = list(SITES.values())[number % len(SITES)]
    return Image.fromarray(draw_image(categories[number % len(categories)], [seed, number], site).image)


def _read(folder: Path) -> list[Image.Image]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"no pictures in {folder}")
    return [Image.open(path) for path in files]


def _measure(picture: Image.Image) -> list[float]:
    picture = picture.convert("L")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    levels_HW = np.asarray(picture, np.float32) / 255
    sector = find_sector(levels_HW)
    return [measure(levels_HW, sector) for measure in MEASURES.values()]


def _level_ratio(levels_HW: np.ndarray, sector: Sector) -> float:
    """Return the mean level in the far third over that in the near third."""
    near = levels_HW[sector.mask_HW & (sector.depth_HW < 1 / 3)].mean()
    far = levels_HW[sector.mask_HW & (sector.depth_HW > 2 / 3)].mean()
    return float(far / max(near, 1e-3))


def _patches(levels_HW: np.ndarray, sector: Sector, side: int = 9) -> list[np.ndarray]:
    """Return lit patches without edges: the half whose quarters differ least in mean level."""
    height, width = levels_HW.shape
    found = []
    for top in range(0, height - side, side):
        for left in range(0, width - side, side):
            patch = levels_HW[top : top + side, left : left + side]
            if sector.mask_HW[top : top + side, left : left + side].all() and 0.12 < patch.mean() < 0.8:
                half = side // 2
                quarters = [patch[:half, :half], patch[:half, -half:], patch[-half:, :half], patch[-half:, -half:]]
                found.append((float(np.std([quarter.mean() for quarter in quarters])), patch))
    found.sort(key=lambda pair: pair[0])
    return [patch for _, patch in found[: max(1, len(found) // 2)]]


def _speckle_contrast(levels_HW: np.ndarray, sector: Sector) -> float:
    patches = _patches(levels_HW, sector)
    return float(np.median([patch.std() / patch.mean() for patch in patches])) if patches else np.nan


def _speckle_size(levels_HW: np.ndarray, sector: Sector, axis: int) -> float:
    """Return twice the lag at which the mean autocorrelation falls to a half, interpolated."""
    patches = [patch - patch.mean() for patch in _patches(levels_HW, sector)]
    if not patches:
        return np.nan
    stack = np.stack(patches)
    size = stack.shape[1 + axis]
    power = (stack**2).mean()
    curve = [1.0]
    for lag in range(1, size - 2):
        first, second = np.take(stack, range(size - lag), 1 + axis), np.take(stack, range(lag, size), 1 + axis)
        curve.append(float((first * second).mean() / power))
        if curve[-1] < 0.5:
            return 2 * (lag - (0.5 - curve[-1]) / (curve[-2] - curve[-1]))
    return 2.0 * len(curve)


if __name__ == "__main__":
    main()
