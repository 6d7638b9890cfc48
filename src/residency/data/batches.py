"""Which samples train together: samples in, batches of (sample index, seed) out, the same for the same epoch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from residency.types import Sample


class Draw(NamedTuple):
    """A sample's row and the seed of its image's augmentation; draws of one image in a batch share the seed."""

    row: int
    seed: int


class ImageBatches:
    """Batches in which consecutive samples share an image, so that the tower sees it once for several questions.

    An epoch holds as many draws as there are samples. With `balance="category"` every category gives as many images,
    small ones more often; else each sample is drawn once. Given the seed and the epoch, the order is fixed.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        batch_size: int,
        questions_per_image: int,
        balance: Literal["category", "none"],
        seed: int,
    ) -> None:
        self.samples, self.balance, self.seed, self.epoch = samples, balance, seed, 0
        self.per_image = min(questions_per_image, batch_size)
        self.images_per_batch = max(1, batch_size // self.per_image)
        self.of_image: dict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            self.of_image[sample.image].append(index)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self._chunk_count() // self.images_per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        chunks = self._draw_chunks(rng)
        for first in range(0, len(chunks), self.images_per_batch):
            batch = []
            for chunk in chunks[first : first + self.images_per_batch]:
                seed = int(rng.integers(2**31))
                batch += [Draw(index, seed) for index in chunk]
            yield batch

    def _chunk_count(self) -> int:
        return sum(-(-len(indices) // self.per_image) for indices in self.of_image.values())

    def _draw_chunks(self, rng: np.random.Generator) -> list[list[int]]:
        """Return an epoch's chunks: some questions of one image each, no image twice in a row where it can be."""
        by_category: dict[str | None, list[list[int]]] = defaultdict(list)
        for image in sorted(self.of_image):
            indices = rng.permutation(self.of_image[image]).tolist()
            category = self.samples[indices[0]].category
            by_category[category] += [
                indices[first : first + self.per_image] for first in range(0, len(indices), self.per_image)
            ]
        if self.balance == "none":
            chunks = [chunk for group in by_category.values() for chunk in group]
            return [chunks[i] for i in rng.permutation(len(chunks))]
        share = -(-self._chunk_count() // len(by_category))
        drawn = [chunk for group in by_category.values() for chunk in _cycle(group, share, rng)]
        return [drawn[i] for i in rng.permutation(len(drawn))[: self._chunk_count()]]


def _cycle(chunks: list[list[int]], count: int, rng: np.random.Generator) -> list[list[int]]:
    """Draw `count` chunks, each once before any comes again."""
    order: list[int] = []
    while len(order) < count:
        order += rng.permutation(len(chunks)).tolist()
    return [chunks[i] for i in order[:count]]
