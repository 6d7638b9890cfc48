"""How fast phantoms are drawn: a number of patients in, images a second out, PNG files and answer sheet included.

    python benchmarks/phantom_speed.py [--patients 150] [--size 256] [--workers 2]

Wanted: at least 25 images a second on two cores at 256 px. Starting the processes is counted, too.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from residency.ultrasound.phantom import write_phantom

WANTED = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    call = parser.parse_args()
    # One thread a process: more would fight over the same cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with TemporaryDirectory() as folder:
        began = perf_counter()
        summary = write_phantom(Path(folder) / "phantom", call.patients, 0, size=call.size, workers=call.workers)
        seconds = perf_counter() - began
    rate = summary.images / seconds
    print(f"{summary.images} images of {call.size} px in {seconds:.1f} s with {call.workers} processes")
    print(f"{rate:.1f} images/s (wanted: {WANTED:.0f}); load of the machine before: {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    main()
