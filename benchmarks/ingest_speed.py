"""Simulated studies in, one ratio out: the time of a whole ingest over that of decoding and hashing its images alone.

    python benchmarks/ingest_speed.py            # 5,000 images, drawn first (minutes)
    python benchmarks/ingest_speed.py --quick    # 400 images

Both run on two threads. The least of several turns is taken of each, in turn, so that other load falls on both alike.
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

from residency.data.ingest import ingest
from residency.ultrasound.phantom.sheet import write_phantom

IMAGES_PER_PATIENT = 3.25
ALLOWED = 1.5


def decode_all(paths: list[Path]) -> float:
    """Return the seconds that reading, hashing and decoding the images take, on two threads."""

    def decode(path: Path) -> str:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
        return hashlib.sha256(data).hexdigest()

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decode, paths))
    return time.perf_counter() - start


def ingest_all(source: Path, out: Path) -> float:
    """Return the seconds of a whole ingest: sheet, images, answers, duplicates, splits, audit, files."""
    start = time.perf_counter()
    ingest(source / "answers.xlsx", source / "images", "fetal8", out, "column:Patient")
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def measure_ratio(source: Path, turns: int = 3) -> tuple[int, float, float]:
    """Return the number of images and the least seconds of decoding alone and of ingest."""
    paths = sorted(source.rglob("*.png"))
    alone, whole = [], []
    for _ in range(turns):
        alone.append(decode_all(paths))
        whole.append(ingest_all(source, source / "dataset"))
    return len(paths), min(alone), min(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 images instead of 5,000")
    parser.add_argument("--source", type=Path, help="a folder that `residency phantom` wrote, instead of a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or Path(folder, "phantom")
        if not options.source:
            write_phantom(source, round((400 if options.quick else 5000) / IMAGES_PER_PATIENT), seed=0)
        count, alone, whole = measure_ratio(source)
    print(f"{count} images: decoding and hashing {alone:.2f} s, ingest {whole:.2f} s")
    print(f"ratio {whole / alone:.2f} (at most {ALLOWED})")


if __name__ == "__main__":
    main()
