"""Samples and a training split in, the same samples with solved examples to show before their question out."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from residency.asking import Shots
from residency.types import Sample


def show_shots(samples: Sequence[Sample], training: Sequence[Sample], shots: Shots) -> list[Sample]:
    """Return samples with `shots.count` solved examples of their question, drawn from the training samples.

    Never an example of the sample's own group or image, nor two of one group where others are left. The draw is the
    same for all samples of a question, and takes turns among its different answers. A question with fewer usable
    training samples gets fewer.
    """
    if not shots.count:
        return list(samples)
    pools = {key: _draw_pool(key, training, shots.seed) for key in {sample.asks for sample in samples}}
    shown = []
    for sample in samples:
        usable = (s for s in pools[sample.asks] if s.group != sample.group and s.image != sample.image)
        taken = list(islice(usable, shots.count))
        shown.append(sample.model_copy(update={"shots": tuple(taken if shots.order == "drawn" else reversed(taken))}))
    return shown


def _draw_pool(key: str, training: Sequence[Sample], seed: int) -> list[Sample]:
    """Return a question's annotated training samples in a seeded order that takes turns among its answers."""
    held = [sample for sample in training if sample.asks == key and sample.suffix]
    held.sort(key=lambda sample: sample.id)
    rng = np.random.default_rng([seed, *key.encode()])
    by_answer: dict[str, list[Sample]] = {}
    for place in rng.permutation(len(held)):
        sample = held[int(place)]
        by_answer.setdefault(str(sample.answer or sample.suffix), []).append(sample)
    queues = list(by_answer.values())
    turns = max(map(len, queues), default=0)
    return _groups_apart([queue[turn] for turn in range(turns) for queue in queues if turn < len(queue)])


def _groups_apart(pool: Sequence[Sample]) -> list[Sample]:
    """Return the first of each group, then the others."""
    first: dict[str, Sample] = {}
    others = [shot for shot in pool if first.setdefault(shot.group, shot) is not shot]
    return [*first.values(), *others]
