"""An index of 100,000 embeddings (dimension 384): seconds to build, milliseconds a query, and what a kill leaves.

python benchmarks/index.py            # two threads; --kills 6 builds are killed (SIGKILL) on the way
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time, sleep

import numpy as np

from residency.errors import UserError
from residency.knowledge.index import CARD, IndexCard, case_entries, open_index, write_index
from residency.knowledge.retrieve import find_neighbours
from residency.types import Sample

DIMENSION, PICTURES_A_GROUP = 384, 10


def make_cases(count: int, seed: int = 0) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """Return one sample a picture, ten pictures a patient, and vectors that lie in 500 clusters."""
    rng = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(3000)]
    samples = [
        Sample(
            id=f"s{n}", image=f"{n}.png", prefix=f"What of {' '.join(rng.choice(words, 6))}?", suffix=f"answer {n % 9}",
            group=f"P{n // PICTURES_A_GROUP}", question=f"q{n % 8}", answer=f"answer {n % 9}",
        )
        for n in range(count)
    ]  # fmt: skip
    centres = rng.normal(size=(500, DIMENSION))
    vectors_ND = (centres[rng.integers(500, size=count)] + rng.normal(size=(count, DIMENSION))).astype(np.float32)
    return samples, dict(zip((sample.image for sample in samples), vectors_ND, strict=True))


def build(out: Path, samples: list[Sample], vectors: dict[str, np.ndarray]) -> None:
    card = IndexCard(
        dataset="made", dataset_sha256={}, encoder="made", encoder_sha256="0", dimension=DIMENSION,
        cases=len(samples), pictures=len(vectors), groups=len(samples) // PICTURES_A_GROUP,
    )  # fmt: skip
    write_index(out, card, list(case_entries(samples, vectors)))


def time_queries(out: Path, samples: list[Sample], vectors: dict[str, np.ndarray], count: int) -> None:
    index = open_index(out)
    rng = np.random.default_rng(1)
    rows = rng.integers(len(samples), size=count)
    unit_ND = np.stack([vectors[sample.image] for sample in samples])
    unit_ND /= np.linalg.norm(unit_ND, axis=1, keepdims=True)
    group_N, question_N = (np.array([getattr(s, name) for s in samples]) for name in ("group", "question"))
    for what in ("image", "hybrid"):
        took, right, worked = [], [], process_time()
        for row in (int(rows[0]), *map(int, rows)):  # the first opens the files
            asked = samples[row]
            began = perf_counter()
            hits = find_neighbours(index, asked, vectors[asked.image], 5, what, asked.prefix)
            assert all(one.sample and one.sample.group != asked.group for one in hits)
            found = [one.sample.image for one in hits if one.sample]
            took.append(1000 * (perf_counter() - began))
            if what == "image":
                allowed_N = (group_N != asked.group) & (question_N == asked.question)
                best = np.argsort(-(unit_ND @ unit_ND[row]) * allowed_N)[:5]
                right.append(len({samples[b].image for b in best} & set(found)) / 5)
        worked = 1000 * (process_time() - worked) / len(took)
        took = took[1:]
        exact = f", {np.mean(right):.3f} of the exact five" if right else ""
        clock = f"median {np.median(took):.1f} ms, 95% {np.percentile(took, 95):.1f} ms"
        print(f"query by {what}: {clock}, processor {worked:.1f} ms{exact}")


def kill_builds(out: Path, count: int, kills: int, whole_seconds: float) -> None:
    """Kill a build at moments spread over its time; what is there afterwards must be whole."""
    for number in range(kills):
        shutil.rmtree(out, ignore_errors=True)
        # A session of its own, whose every process is killed.
        job = subprocess.Popen(
            [sys.executable, __file__, "--count", str(count), "--build-only", str(out)],
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert job.stdout and job.stdout.readline()  # it begins to write
        sleep(whole_seconds * (number + 0.5) / kills)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        state = "absent"
        if out.exists():
            index = open_index(out)
            state = f"whole, {index.table.rows} rows"
            assert index.table.rows == count and (out / CARD).is_file()
        else:
            try:
                open_index(out)
                raise AssertionError("an index that is not there was opened")
            except UserError:
                pass
        print(f"killed after {whole_seconds * (number + 0.5) / kills:.1f} s of writing: {state}")
    build(out, *make_cases(count))
    left = [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")]
    print(f"built again: {open_index(out).table.rows} rows, left behind: {left or 'nothing'}")
    assert not left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("scratch/index100k"))
    parser.add_argument("--build-only", type=Path)
    asked = parser.parse_args()
    samples, vectors = make_cases(asked.count)
    if asked.build_only:
        print("begins", flush=True)
        build(asked.build_only, samples, vectors)
        return
    began, worked = perf_counter(), process_time()
    build(asked.out, samples, vectors)
    took = perf_counter() - began
    size = sum(path.stat().st_size for path in asked.out.rglob("*") if path.is_file()) / 2**20
    print(f"{asked.count} embeddings of {DIMENSION}: built in {took:.1f} s ({process_time() - worked:.1f} s of the")
    print(f"processor), {size:.0f} MiB; load of the machine {os.getloadavg()[0]:.1f}")
    time_queries(asked.out, samples, vectors, asked.queries)
    if asked.kills:
        kill_builds(asked.out.with_name("killed"), asked.count, asked.kills, took)


if __name__ == "__main__":
    main()
