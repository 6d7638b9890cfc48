"""Simulated studies in, two ratios out: the time of a whole ingest over that of decoding and hashing its images alone.

Ingest needs two hashes of an image, SHA-256 and the perceptual one; the first ratio is over decoding with SHA-256
alone, the second over decoding with both.

    python benchmarks/ingest_speed.py            # 5,000 images, drawn first (minutes)
    python benchmarks/ingest_speed.py --quick    # 400 images

Each may use two cores. The least of several turns is taken of each, in turn, so that other load falls on all alike.
"""

import argparse
import hashlib
import io
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from residency.data.duplicates import find_twins
from residency.data.images import read_images
from residency.data.index import index_images
from residency.data.ingest import ingest
from residency.ultrasound.phantom.sheet import write_phantom

IMAGES_PER_PATIENT = 3.25
ALLOWED = 1.5
CHUNK = 32


def decode_all(paths: list[Path]) -> float:
    """Return the seconds that reading, hashing and decoding the images take, on two threads that take some at a time.

    One at a time takes a tenth longer; processes are no faster.
    """

    def decode(some: list[Path]) -> None:
        for path in some:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
            hashlib.sha256(data).hexdigest()

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decode, [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]))
    return time.perf_counter() - start


def hash_all(root: Path) -> float:
    """Return the seconds that decoding and both hashes take, as ingest does them."""
    start = time.perf_counter()
    find_twins(read_images(index_images(root).paths)[0])
    return time.perf_counter() - start


def ingest_all(source: Path, out: Path) -> float:
    """Return the seconds of a whole ingest: sheet, images, answers, duplicates, splits, audit, files."""
    start = time.perf_counter()
    ingest(source / "answers.xlsx", source / "images", "fetal8", out, "column:Patient")
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def measure_all(source: Path, turns: int = 3) -> tuple[int, float, float, float]:
    """Return the number of images and the least seconds of decoding, of decoding with both hashes, and of ingest."""
    paths = sorted(source.rglob("*.png"))
    alone, hashed, whole = [], [], []
    for _ in range(turns):
        alone.append(decode_all(paths))
        hashed.append(hash_all(source / "images"))
        whole.append(ingest_all(source, source / "dataset"))
    return len(paths), min(alone), min(hashed), min(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 images instead of 5,000")
    parser.add_argument("--source", type=Path, help="a folder that `residency phantom` wrote, instead of a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or Path(folder, "phantom")
        if not options.source:
            write_phantom(source, round((400 if options.quick else 5000) / IMAGES_PER_PATIENT), seed=0)
        count, alone, hashed, whole = measure_all(source)
    print(f"{count} images: decoding and SHA-256 {alone:.2f} s, with the perceptual hash {hashed:.2f} s")
    print(f"ingest {whole:.2f} s: ratio {whole / alone:.2f}, with the perceptual hash {whole / hashed:.2f}")
    print(f"wanted: at most {ALLOWED}")


if __name__ == "__main__":
    main()
