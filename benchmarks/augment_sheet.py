"""Draw docs/pictures/augmentation.png: three phantoms before and after each transform, and after random subsets.

python benchmarks/augment_sheet.py [--seed 3] [--out docs/pictures/augmentation.png]

Of 16 draws of a transform the one that changes the picture most is shown: what training sees is milder.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from residency.types import Sample
from residency.ultrasound.augment import TRANSFORMS, augment
from residency.ultrasound.phantom import draw_image, find_site

SHOWN = (("trans-thalamic", "meridian"), ("abdomen", "delta"), ("femur", "summit"))
SIDE, COLUMNS, DRAWS, TOGETHER, SHADES = 148, 8, 16, 3, 40
SAMPLE = Sample(id="shown", image="shown", prefix="Name the plane.", suffix="a plane", group="shown")


def draw_strongest(picture: Image.Image, name: str, seed: int) -> Image.Image:
    """Return the picture after the transform's strongest of some draws."""
    before = np.asarray(picture.convert("RGB"), float)
    draws = [augment(picture, SAMPLE, np.random.default_rng([seed, k]), only=[name])[0] for k in range(DRAWS)]
    return max(draws, key=lambda draw: float(np.abs(np.asarray(draw, float) - before).mean()))


def draw_row(category: str, site: str, seed: int) -> list[Image.Image]:
    """Return a phantom's tiles: before, each transform, and some random subsets."""
    picture = Image.fromarray(draw_image(category, seed, find_site(site)).image)
    shown = {"before": picture}
    shown |= {transform.name: draw_strongest(picture, transform.name, seed) for transform in TRANSFORMS}
    for k in range(TOGETHER):
        shown[f"drawn {k + 1}"] = augment(picture, SAMPLE, np.random.default_rng([seed, 99, k]))[0]
    return [draw_tile(name, image) for name, image in shown.items()]


def draw_tile(name: str, picture: Image.Image) -> Image.Image:
    """Return a picture under its name."""
    small = picture.convert("L")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    tile = Image.new("L", (SIDE + 4, SIDE + 14), 255)
    ImageDraw.Draw(tile).text((4, 0), name, fill=0)
    tile.paste(Image.new("L", (SIDE, SIDE)), (2, 13))
    tile.paste(small, (2 + (SIDE - small.width) // 2, 13 + (SIDE - small.height) // 2))
    return tile


def draw_sheet(seed: int) -> Image.Image:
    tiles = [tile for category, site in SHOWN for tile in draw_row(category, site, seed)]
    width, height = tiles[0].size
    sheet = Image.new("L", (COLUMNS * width, -(-len(tiles) // COLUMNS) * height), 255)
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % COLUMNS * width, place // COLUMNS * height))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/augmentation.png"))
    arguments = parser.parse_args()
    draw_sheet(arguments.seed).quantize(SHADES, dither=Image.Dither.NONE).save(arguments.out, optimize=True)
