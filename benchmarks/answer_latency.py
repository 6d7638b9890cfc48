"""How long the embedded model takes: eight answers about one image, loading, and memory, in a process of its own.

    python benchmarks/answer_latency.py [--images 20]

Simulated images of every category, one at a time, file decoding included; candidates are the questionnaire's. One
image warms up. Wanted on two cores: median at most 0.6 s, load at most 3 s after imports, below 600 MB.
"""

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from residency.asking import Predict
from residency.models.registry import open_model
from residency.predict import Asked, answer_samples, candidates_of
from residency.questionnaire import load_questionnaire
from residency.types import Sample
from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, draw_image


def main() -> None:
    """Draw images, load the model, answer, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    asked = parser.parse_args()
    questionnaire = load_questionnaire("fetal8")
    began = perf_counter()
    opened = open_model("nano")
    loaded_in = perf_counter() - began
    candidates = candidates_of(questionnaire, [])
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.images + 1):
            drawing = draw_image(CATEGORIES[number % len(CATEGORIES)], [2611, number], HELD_OUT_SITE)
            path = Path(folder) / f"{number}.png"
            Image.fromarray(drawing.image).save(path)
            samples = [
                Sample(id=f"{number}:{q.id}", image=str(path), prefix=q.wording, group="", question=q.id)
                for q in questionnaire.questions
            ]
            began = perf_counter()
            made = list(
                answer_samples(opened, samples, questionnaire, candidates, Asked("nano", "own", "all"), Predict())
            )
            seconds.append(perf_counter() - began)
            assert len(made) == len(questionnaire.questions)
    low, middle, high = np.percentile(seconds[1:], (10, 50, 90))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"eight answers about an image: median {middle:.2f} s (middle 80%: {low:.2f} to {high:.2f})")
    print(f"load after imports: {loaded_in:.2f} s; peak memory {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
