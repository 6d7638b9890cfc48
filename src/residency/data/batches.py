"""Which samples train together: samples in, batches of (sample index, seed) out, the same for the same epoch."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from residency.types import Sample

POOLED = 16
"""How many batches' images are sorted by length at a time; chance still says which stand together."""


class Draw(NamedTuple):
    """A sample's row and the seed of its image's augmentation; draws of one image in a batch share the seed."""

    row: int
    seed: int


class Draws:
    """Samples by draw: what the loader fetches for `ImageBatches`."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[Sample, int]:
        """Return the sample and the seed of its augmentation."""
        return self.samples[draw.row], draw.seed


class ImageBatches:
    """Batches in which consecutive samples share an image, so that the tower sees it once for several questions.

    An epoch holds as many draws as there are samples. With `balance="category"` every category gives as many images,
    small ones more often; else each sample is drawn once. Given the seed and the epoch, the order is fixed.

    `by_length`: images whose texts are of like length stand together, so that little is padded; batches come in any
    order. `whole`: all questions about an image stand together, in as many images a batch as there would be else.
    `pseudo` samples, whose rows follow, come on top: some each epoch, none twice as long as there are others, so many
    that they are at most `share` of the epoch's draws.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        batch_size: int,
        questions_per_image: int,
        balance: Literal["category", "none"],
        seed: int,
        whole: bool = False,
        by_length: bool = False,
        pseudo: Sequence[Sample] = (),
        share: float = 0.0,
    ) -> None:
        self.samples, self.balance, self.seed, self.epoch = (*samples, *pseudo), balance, seed, 0
        self.per_image = min(questions_per_image, batch_size)
        self.images_per_batch, self.by_length = max(1, batch_size // self.per_image), by_length
        self.per_image = len(samples) if whole else self.per_image
        self.of_image = _rows_by_image(samples, 0)
        self.of_pseudo = _rows_by_image(pseudo, len(samples))
        most = int(share / (1 - share) * len(samples)) // self.per_image if pseudo else 0
        self.counts = self._chunk_count(self.of_image), min(most, self._chunk_count(self.of_pseudo))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-sum(self.counts) // self.images_per_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        chunks = self._draw_chunks(self.of_image, self.counts[0], rng)
        if self.counts[1]:
            chunks += self._draw_chunks(self.of_pseudo, self.counts[1], rng)
            chunks = [chunks[i] for i in rng.permutation(len(chunks))]
        groups = [chunks[n : n + self.images_per_batch] for n in range(0, len(chunks), self.images_per_batch)]
        for group in self._sort_groups(groups, rng) if self.by_length else groups:
            batch = []
            for chunk in group:
                seed = int(rng.integers(2**31))
                batch += [Draw(index, seed) for index in chunk]
            yield batch

    def _sort_groups(self, groups: list[list[list[int]]], rng: np.random.Generator) -> Iterator[list[list[int]]]:
        """Yield batches anew, `POOLED` at a time sorted by the length of their images' longest text."""
        for first in range(0, len(groups), POOLED):
            pool = sorted((chunk for group in groups[first : first + POOLED] for chunk in group), key=self._length_of)
            cut = [pool[n : n + self.images_per_batch] for n in range(0, len(pool), self.images_per_batch)]
            yield from (cut[i] for i in rng.permutation(len(cut)))

    def _length_of(self, chunk: Sequence[int]) -> int:
        told = (self.samples[row] for row in chunk)
        return max(len(sample.prefix) + len(sample.suffix or "") for sample in told)

    def _chunk_count(self, of_image: Mapping[str, Sequence[int]]) -> int:
        return sum(-(-len(indices) // self.per_image) for indices in of_image.values())

    def _draw_chunks(
        self, of_image: Mapping[str, Sequence[int]], count: int, rng: np.random.Generator
    ) -> list[list[int]]:
        """Return an epoch's chunks: some questions of one image each, no image twice in a row where it can be."""
        by_category: dict[str | None, list[list[int]]] = defaultdict(list)
        for image in sorted(of_image):
            indices = rng.permutation(of_image[image]).tolist()
            category = self.samples[indices[0]].category
            by_category[category] += [
                indices[first : first + self.per_image] for first in range(0, len(indices), self.per_image)
            ]
        if self.balance == "none":
            chunks = [chunk for group in by_category.values() for chunk in group]
            return [chunks[i] for i in rng.permutation(len(chunks))[:count]]
        share = -(-count // len(by_category))
        drawn = [chunk for group in by_category.values() for chunk in _cycle(group, share, rng)]
        return [drawn[i] for i in rng.permutation(len(drawn))[:count]]


class ProcessShare:
    """One process's part of each batch of `batches`, by whole images: every `count`-th from `rank` on.

    A batch of fewer images than processes leaves some an empty part. Together the parts are the batch.
    """

    def __init__(self, batches: ImageBatches, rank: int, count: int) -> None:
        self.batches, self.rank, self.count = batches, rank, count

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in self.batches:
            by_image: dict[str, list[Draw]] = {}
            for draw in batch:  # an image may be drawn twice, and must look the same to both its draws
                by_image.setdefault(self.batches.samples[draw.row].image, []).append(draw)
            yield [draw for draws in list(by_image.values())[self.rank :: self.count] for draw in draws]


def _rows_by_image(samples: Sequence[Sample], first: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples, first):
        rows[sample.image].append(row)
    return rows


def _cycle(chunks: list[list[int]], count: int, rng: np.random.Generator) -> list[list[int]]:
    """Draw `count` chunks, each once before any comes again."""
    order: list[int] = []
    while len(order) < count:
        order += rng.permutation(len(chunks)).tolist()
    return [chunks[i] for i in order[:count]]
