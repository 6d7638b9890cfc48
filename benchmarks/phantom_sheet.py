"""Draw docs/pictures/phantoms.png: two phantoms of each category, for a sonographer to judge.

python benchmarks/phantom_sheet.py [--seed 5] [--out docs/pictures/phantoms.png]
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from residency.ultrasound.phantom import CATEGORIES, TRAINING_SITES, draw_image

SIDE, COLUMNS, EACH = 176, 8, 2


def draw_sheet(seed: int) -> Image.Image:
    """Return a grid of phantoms, `EACH` of every category from different sites, the category written above."""
    pictures = []
    for row, category in enumerate(CATEGORIES):
        for number in range(EACH):
            site = TRAINING_SITES[(row + number) % len(TRAINING_SITES)]
            picture = Image.fromarray(draw_image(category, [seed, row, number], site).image)
            picture.thumbnail((SIDE, SIDE))
            tile = Image.new("L", (SIDE, SIDE))
            tile.paste(picture, ((SIDE - picture.width) // 2, SIDE - picture.height))
            if number == 0:
                ImageDraw.Draw(tile).text((4, 2), category, fill=255)
            pictures.append(tile)
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * SIDE, rows * SIDE))
    for place, tile in enumerate(pictures):
        sheet.paste(tile, (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/phantoms.png"))
    arguments = parser.parse_args()
    draw_sheet(arguments.seed).save(arguments.out, optimize=True)
