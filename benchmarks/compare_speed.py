"""20,000 answers of 2,500 patients by two models in; the time and peak memory of `residency compare` on them out.

    python benchmarks/compare_speed.py                    # 10,000 draws
    python benchmarks/compare_speed.py --groups 500

Everything after the imports is timed: reading the dataset and both predictions files, checking and hashing them,
scoring, 10,000 draws, and writing JSON and Markdown (the page's figure, which imports matplotlib, is timed apart).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.stats  # noqa: F401 (imported here, so that its import is not timed)

from residency.data.dataset import Dataset, write_dataset
from residency.evaluate.compare import compare_paths
from residency.files import write_json, write_lines, write_text
from residency.report.versus import render_html, render_markdown
from residency.types import Option, Prediction, Question, Questionnaire, Sample

PLANES = ("abdomen", "femur", "head", "thorax")
QUESTIONS = 8
SECONDS, MEGABYTES = 2.0, 500


def plant_contest(folder: Path, groups: int, rates: dict[str, float], seed: int = 0) -> list[Path]:
    """Write a dataset of `groups` patients with eight closed answers each, and a predictions file a model.

    A model answers right at its rate; half of what makes an answer hard is the patient's, the same for all models.
    """
    rng = np.random.default_rng(seed)
    options = tuple(Option(name=name) for name in PLANES)
    questions = tuple(
        Question(id=f"q{n}", type="choice", options=options, wording=f"Plane {n}?") for n in range(1, QUESTIONS + 1)
    )
    samples = [
        Sample(
            id=f"{group}-{question.id}", image=f"images/{group}.png", prefix=question.wording, suffix=(name := PLANES[
                int(rng.integers(4))]), group=f"P{group:05d}", question=question.id, answer=name,
        )
        for group in range(groups)
        for question in questions
    ]  # fmt: skip
    write_dataset(Dataset(folder / "dataset", tuple(samples), Questionnaire(name="planes", questions=questions), None))
    patient_N, own_N = rng.random(groups).repeat(QUESTIONS), rng.random(len(samples))
    hard_N = np.where(rng.random(len(samples)) < 0.5, patient_N, own_N)
    paths = []
    for model, rate in rates.items():
        made = [
            Prediction(
                id=sample.id, model=model, mode="own", split="all", prompt_sha256="0" * 64, prediction=(said := str(
                    sample.answer) if hard < rate else PLANES[PLANES.index(str(sample.answer)) - 1]), parsed=said,
            )
            for sample, hard in zip(samples, hard_N, strict=True)
        ]  # fmt: skip
        paths.append(folder / f"{model}.jsonl")
        write_lines(paths[-1], made)
    return paths


def peak_megabytes() -> float:
    """Return the most memory that this process held (Linux; getrusage would count its parent's before the start)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def measure(groups: int, draws: int) -> dict[str, float]:
    """Return wall and processor seconds, peak resident MB, and the seconds of the page."""
    with tempfile.TemporaryDirectory() as folder:
        paths = plant_contest(Path(folder), groups, {"tuned": 0.8, "base": 0.7})
        wall, cpu = time.perf_counter(), time.process_time()
        comparison = compare_paths(paths, Path(folder) / "dataset", draws=draws)
        write_json(Path(folder) / "comparison.json", comparison.model_dump(mode="json"))
        write_text(Path(folder) / "comparison.md", render_markdown(comparison))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_megabytes()
        page = time.perf_counter()
        render_html(comparison)
        return {
            "items": comparison.items,
            "groups": comparison.groups,
            "draws": draws,
            "wall_s": round(wall, 2),
            "processor_s": round(cpu, 2),
            "peak_mb": round(peak),
            "page_s": round(time.perf_counter() - page, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=2500)
    parser.add_argument("--draws", type=int, default=10_000)
    asked = parser.parse_args()
    found = measure(asked.groups, asked.draws)
    print(json.dumps(found))
    print(f"allowed: {SECONDS} s, {MEGABYTES} MB")


if __name__ == "__main__":
    main()
