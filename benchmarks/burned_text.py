"""How much burned-in text is masked, and how much of a picture without text is masked by mistake.

    python benchmarks/burned_text.py ../shared/data/fetal_head/image [--images 20]

Names, dates and numbers are drawn at random places, in letters of 8 to 24 pixels and three contrasts, into pictures
without text. A line counts as masked where at least 95% of its pixels are black
after `residency deidentify`'s own masking, and as read at one size where the detector's first pass alone finds it.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from residency.dicom.burned import TextReader, clear_text
from residency.dicom.header import Refused

LINES = (
    "FEATHERSTONE^MARY", "St. Aldhelm Hospital", "ID 7781234", "29/02/2024", "2024-02-29 10:15", "DOB 12.03.1987",
    "Dr. Quillfeather", "GA 21w3d", "张伟 患者", "Acc 99887-B",
)  # fmt: skip
SIZES = (8, 10, 12, 16, 24)
CONTRASTS = {"white": 255, "grey": 170, "dim": 110}
FONTS = ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",)


def main() -> None:
    """Draw, mask, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("folder", type=Path, help="Pictures without text.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    paths = sorted(asked.folder.rglob("*.png"))
    rng.shuffle(paths)
    reader = TextReader()
    masked: defaultdict[tuple[int, str], list[bool]] = defaultdict(list)
    once: defaultdict[int, list[bool]] = defaultdict(list)
    shares, refused = [], 0
    for number in range(asked.images):
        clean = np.asarray(Image.open(paths[number % len(paths)]).convert("L"))
        shares.append(_masked_by_mistake(clean, reader))
        drawn, places = _with_lines(clean, rng)
        boxes = [text.box for text in reader._read(drawn, (0, 0, drawn.shape[1], drawn.shape[0]), 1)]
        try:
            after = clear_text([drawn], reader).frames[0]
        except Refused:
            refused += 1
            continue
        for (x0, y0, x1, y1), letters, size, contrast in places:
            left = after[y0:y1, x0:x1][letters]
            masked[size, contrast].append(float((left == 0).mean()) >= 0.95)
            once[size].append(any(a <= x0 + 2 and b <= y0 + 2 and c >= x1 - 2 and d >= y1 - 2 for a, b, c, d in boxes))
    print(f"{asked.images} pictures, {sum(map(len, masked.values()))} lines, {refused} pictures refused")
    print("letters of", *(f"{size} px" for size in SIZES), sep="\t")
    for contrast in CONTRASTS:
        print(contrast, *(_share(masked[size, contrast]) for size in SIZES), sep="\t")
    print("one size", *(_share(once[size]) for size in SIZES), sep="\t")
    touched = [share for share in shares if share]
    mean = np.mean(shares)
    print(f"without text: {len(touched)} of {len(shares)} pictures masked somewhere, {mean:.2%} of all pixels")


def _with_lines(
    clean: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[tuple[int, int, int, int], np.ndarray, int, str]]]:
    """Return the picture with a line of each size at its own height, and (box, letters' pixels, size, contrast)."""
    picture, places = clean.copy(), []
    band = clean.shape[0] // len(SIZES)
    for row, size in enumerate(rng.permutation(SIZES).tolist()):
        words = LINES[int(rng.integers(len(LINES)))]
        contrast = list(CONTRASTS)[int(rng.integers(len(CONTRASTS)))]
        font = ImageFont.truetype(FONTS[0], size)
        x0, y0, x1, y1 = (int(side) for side in font.getbbox(words))
        left = int(rng.integers(0, max(1, clean.shape[1] - x1 - 4)))
        top = row * band + int(rng.integers(0, max(1, band - y1 - 4)))
        layer = Image.new("L", (clean.shape[1], clean.shape[0]))
        ImageDraw.Draw(layer).text((left, top), words, fill=255, font=font)
        ink = np.asarray(layer) / 255
        picture = (picture * (1 - ink) + CONTRASTS[contrast] * ink).astype(np.uint8)
        box = (left + x0, top + y0, left + x1, top + y1)
        places.append((box, ink[box[1] : box[3], box[0] : box[2]] > 0.5, size, contrast))
    return picture, places


def _masked_by_mistake(clean: np.ndarray, reader: TextReader) -> float:
    """Return the share of a picture's pixels that is masked though it has no text; 1 where it is refused."""
    try:
        after = clear_text([clean], reader).frames[0]
    except Refused:
        return 1.0
    return float((after != clean).mean())


def _share(found: list[bool]) -> str:
    return f"{sum(found)}/{len(found)}" if found else "-"


if __name__ == "__main__":
    main()
