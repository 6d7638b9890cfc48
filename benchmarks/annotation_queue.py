"""What the order of `residency queue` saves against random choice: annotated images that a linear probe needs.

    python benchmarks/annotation_queue.py

Pools of images whose answers are known are annotated in rounds of 8, by several rules; after each round a logistic
regression on the frozen tower's features (nano's, untuned) is fitted anew, gives its confidences to the next round, and
is scored by balanced accuracy on groups held out. Mean of 20 draws of pool and first round. Pools: simulated planes of
a site that nano never saw, with rare and common planes as in a clinic; and VQA-RAD (../shared/data), where the question
is the region of the body. A third of a pool is held out. `needs`: how many annotated images first reach the mean of
random's last three rounds.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from residency.models.registry import Opened, open_model
from residency.serve.rank import rank_images
from residency.types import Sample
from residency.ultrasound.phantom import CATEGORIES, HELD_OUT_SITE, draw_image

ROUND, LAST, DRAWS, SIMULATED = 8, 96, 20, 600
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass(frozen=True)
class Pool:
    """Features of N images, their answers, and the group of each."""

    name: str
    features_ND: np.ndarray
    answer_N: np.ndarray
    group_N: np.ndarray


Rule = Callable[[Pool, np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""Pool, rows left, rows annotated, the probe's shares of each left row (rows, classes), rng in; rows to ask for out."""


def see_images(opened: Opened, images: list[Image.Image]) -> np.ndarray:
    """Return the tower's mean region of each image."""
    seen = []
    for start in range(0, len(images), 16):
        some = images[start : start + 16]
        samples = [Sample(id=str(n), image=str(n), prefix="?", group=str(n)) for n in range(len(some))]
        shown = {str(n): image for n, image in enumerate(some)}
        batch = opened.family.encode(opened.loaded, samples, with_answers=False, images=shown)
        with torch.inference_mode():
            seen.append(opened.family.see(opened.loaded, batch.pixels_MCHW).mean(1).float().numpy())
    return np.concatenate(seen).astype(np.float64)


def simulate_pool(opened: Opened) -> Pool:
    """Draw simulated planes, the k-th plane 1/k as common as the first."""
    rng = np.random.default_rng(17)
    share_C = 1 / np.arange(1, len(CATEGORIES) + 1)
    planes = rng.choice(len(CATEGORIES), SIMULATED, p=share_C / share_C.sum())
    images = [
        Image.fromarray(draw_image(CATEGORIES[plane], [17, number], HELD_OUT_SITE).image).convert("RGB")
        for number, plane in enumerate(planes)
    ]
    return Pool("simulated planes", see_images(opened, images), np.array(CATEGORIES)[planes], np.arange(SIMULATED))


def read_pool(opened: Opened) -> Pool | None:
    """Read VQA-RAD's images with the region of the body that each shows (None: not at hand)."""
    file = SHARED / "vqa_rad" / "VQA_RAD Dataset Public.json"
    if not file.is_file():
        return None
    organ_of = {one["image_name"]: one["image_organ"] for one in json.loads(file.read_text())}
    folder = next(path.parent for path in (SHARED / "vqa_rad").rglob("*.jpg"))
    names = sorted(name for name in organ_of if (folder / name).is_file())
    images = []
    for name in names:
        with Image.open(folder / name) as picture:
            images.append(picture.convert("RGB"))
    organs = np.array([organ_of[name] for name in names])
    return Pool("VQA-RAD: region", see_images(opened, images), organs, np.arange(len(names)))


def choose_random(
    pool: Pool, left_L: np.ndarray, known_K: np.ndarray, share_LC: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw at random."""
    return rng.permutation(left_L)[:ROUND]


def choose_unsure(
    pool: Pool, left_L: np.ndarray, known_K: np.ndarray, share_LC: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Take those that the probe is least sure of."""
    return left_L[np.argsort(share_LC.max(1), kind="stable")[:ROUND]]


def choose_apart(
    pool: Pool, left_L: np.ndarray, known_K: np.ndarray, share_LC: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Take those that are farthest from what is known."""
    return _ranked(pool, left_L, known_K, np.ones(len(left_L)), [""] * len(left_L), [""] * len(known_K))


def choose_queue(
    pool: Pool, left_L: np.ndarray, known_K: np.ndarray, share_LC: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Take what `residency queue` takes."""
    names = sorted(set(pool.answer_N[known_K]))
    likely = [names[place] for place in share_LC.argmax(1)]
    return _ranked(pool, left_L, known_K, 1 - share_LC.max(1), likely, pool.answer_N[known_K].tolist())


RULES: dict[str, Rule] = {
    "random": choose_random, "uncertainty": choose_unsure, "diversity": choose_apart, "queue": choose_queue,
}  # fmt: skip


def _ranked(
    pool: Pool, left_L: np.ndarray, known_K: np.ndarray, unsure_L: np.ndarray, likely: list[str], answered: list[str]
) -> np.ndarray:
    features_ND = pool.features_ND
    turns = rank_images(features_ND[left_L], unsure_L, likely, features_ND[known_K], answered, ROUND)
    return left_L[[turn.row for turn in turns]]


def annotate(pool: Pool, rule: Rule, seed: int) -> list[float]:
    """Return the probe's score after each round of one draw."""
    rng = np.random.default_rng([seed, 23])
    rows_N = rng.permutation(len(pool.answer_N))
    test_T, left_L = rows_N[: len(rows_N) // 3], rows_N[len(rows_N) // 3 :]
    known_K, left_L = left_L[:ROUND], left_L[ROUND:]
    scores = []
    while True:
        scaler = StandardScaler().fit(pool.features_ND[np.concatenate([known_K, left_L])])
        known = pool.answer_N[known_K]
        if len(set(known)) > 1:
            probe = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(pool.features_ND[known_K]), known)
            answered_T = probe.predict(scaler.transform(pool.features_ND[test_T]))
            share_LC = probe.predict_proba(scaler.transform(pool.features_ND[left_L]))
        else:
            answered_T, share_LC = np.repeat(known[:1], len(test_T)), np.ones((len(left_L), 1))
        scores.append(float(balanced_accuracy_score(pool.answer_N[test_T], answered_T)))
        if len(known_K) >= LAST:
            return scores
        chosen = rule(pool, left_L, known_K, share_LC, rng)
        known_K, left_L = np.concatenate([known_K, chosen]), np.setdiff1d(left_L, chosen, assume_unique=True)


def main() -> None:
    """Print each pool's learning curves and what each rule saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=DRAWS)
    draws = parser.parse_args().draws
    opened = open_model("nano")
    for pool in (simulate_pool(opened), read_pool(opened)):
        if pool is None:
            print("VQA-RAD is not at hand")
            continue
        curves = {name: np.array([annotate(pool, rule, seed) for seed in range(draws)]) for name, rule in RULES.items()}
        sizes = np.arange(1, curves["random"].shape[1] + 1) * ROUND
        goal = curves["random"].mean(0)[-3:].mean()
        print(f"\n{pool.name}: {len(pool.answer_N)} images, {len(set(pool.answer_N))} answers")
        print(f"{'annotated':12}" + "".join(f"{size:7d}" for size in sizes[1::2]))
        for name, scores_DR in curves.items():
            mean_R = scores_DR.mean(0)
            reached = np.flatnonzero(mean_R >= goal - 1e-9)
            need = int(sizes[reached[0]]) if len(reached) else None
            gain_D = scores_DR.mean(1) - curves["random"].mean(1)
            error = gain_D.std(ddof=1) / np.sqrt(draws) if name != "random" else 0.0
            told = f"  mean gain {gain_D.mean():+.3f} (standard error {error:.3f})  needs {need or '-'}"
            print(f"{name:12}" + "".join(f"{score:7.3f}" for score in mean_R[1::2]) + told)


if __name__ == "__main__":
    main()
