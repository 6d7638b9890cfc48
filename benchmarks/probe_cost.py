"""What ten sampled answers to eight questions about one image cost, in greedy answers to one question about it.

python benchmarks/probe_cost.py [--model nano] [--answers 10] [--repeats 5]

Processor time, the median of the repeats, encoding and decoding included. A tower sees the image once for all eighty
answers; each question is read once for its ten. The ratio depends on how long the answers are, so both are told.
"""

import argparse
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import torch
from PIL import Image

from residency.models.registry import Opened, open_model
from residency.models.sampling import Sampling
from residency.questionnaire import load_questionnaire
from residency.types import Sample
from residency.ultrasound.phantom import TRAINING_SITES, draw_image

MOST, TEMPERATURE = 96, 0.4


def draw_samples(folder: Path) -> list[Sample]:
    """Write a simulated image and return the eight standard questions about it."""
    path = folder / "image.png"
    Image.fromarray(draw_image("trans-thalamic", [0, 0, 0], TRAINING_SITES[0]).image).save(path)
    asked = load_questionnaire("fetal8").questions
    return [Sample(id=one.id, image=str(path), prefix=one.wording, group="P") for one in asked]


@torch.inference_mode()
def answer(opened: Opened, samples: list[Sample], count: int, seed: int) -> int:
    """Answer each question `count` times (1: greedily); return how many words were said."""
    family, loaded = opened.family, opened.loaded
    batch = family.encode(loaded, samples, with_answers=False)
    sampling = Sampling(count, TEMPERATURE, tuple(range(seed, seed + len(samples)))) if count > 1 else None
    regions_MND = family.see(loaded, batch.pixels_MCHW)
    said = family.generate(loaded, batch, regions_MND, max_new_tokens=MOST, sampling=sampling)
    return sum(len(one.text.split()) for one in said)


def measure(name: str, count: int, repeats: int) -> tuple[float, float, float]:
    """Return the seconds of all questions' `count` answers, of one answer to one question (mean over the questions),
    and their ratio."""
    torch.set_num_threads(1)
    opened = open_model(name)
    opened.loaded.model.eval()
    with TemporaryDirectory() as folder:
        samples = draw_samples(Path(folder))
        many, one = [], []
        for repeat in range(repeats + 1):  # the first warms up
            began = process_time()
            answer(opened, samples, count, repeat)
            many.append(process_time() - began)
            began = process_time()
            for sample in samples:
                answer(opened, [sample], 1, repeat)
            one.append((process_time() - began) / len(samples))
    return median(many[1:]), median(one[1:]), median(many[1:]) / median(one[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--answers", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    many, one, ratio = measure(asked.model, asked.answers, asked.repeats)
    told = f"{asked.answers} answers to 8 questions {many:.3f} s, one answer to one {one:.3f} s"
    print(f"{asked.model}: {told}: {ratio:.1f} times")
