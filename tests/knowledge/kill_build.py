"""A folder in; an index is built there again and again by children that are killed on the way; what is left, told."""

import json
import os
import signal
import sys
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

from residency.knowledge.index import IndexCard, case_entries, write_index
from residency.types import Sample

COUNT, KILLS = 2000, 5


def build(out: Path) -> None:
    """Build an index of random vectors."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(id=str(n), image=str(n), prefix="Which?", suffix="one", group=f"P{n}", question="q", answer="one")
        for n in range(COUNT)
    ]
    vectors = {sample.image: rng.normal(size=64).astype(np.float32) for sample in samples}
    card = IndexCard(
        dataset="made", dataset_sha256={}, encoder="made", encoder_sha256="0", dimension=64, cases=COUNT,
        pictures=COUNT, groups=COUNT,
    )  # fmt: skip
    write_index(out, card, list(case_entries(samples, vectors)))


def begin(out: Path) -> int:
    """Fork a child that builds (LanceDB has not begun any thread yet); returns its process id."""
    child = os.fork()
    if not child:
        build(out)
        os._exit(0)
    return child


def main() -> None:
    """Time one build, kill others at moments spread over it, and print what each has left."""
    folder = Path(sys.argv[1])
    began = perf_counter()
    os.waitpid(begin(folder / "first"), 0)
    took, left = perf_counter() - began, []
    for number in range(KILLS):
        child = begin(folder / "index")
        sleep(took * (number + 0.5) / KILLS)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left.append(sorted(path.name for path in (folder / "index").iterdir()) if (folder / "index").exists() else [])
    print(json.dumps(left))


if __name__ == "__main__":
    main()
