"""An index and samples in, the samples with their neighbours' answers composed into the prompt out.

No neighbour is of the sample's own group: that is a filter of the search itself, and is checked again on what it found.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from residency.asking import Retrieval
from residency.knowledge.index import Index
from residency.knowledge.store import Found, fuse_ranks
from residency.models.sentences import TextEncoder
from residency.types import Context, Neighbour, Sample

CHOICES = (0, 1, 3, 5)
"""The numbers of neighbours that `k: auto` chooses among."""
POOL = 50
"""How many of each list are fused."""


def find_neighbours(
    index: Index,
    sample: Sample,
    vector: NDArray[np.float32],
    k: int,
    by: str = "image",
    words: str | NDArray[np.float32] | None = None,
) -> list[Found]:
    """Return the k cases most like a sample, at most one a picture, none of its group.

    Where the sample's question has an id, they are answers to that question. `words` is what is searched by text: the
    sample's question, or its vector.
    """
    lists = []
    if by != "text":
        lists.append(index.table.near_image(vector, POOL, without=sample.group, question=sample.question))
    if by != "image" and words is not None:
        lists.append(index.table.near_text(words, POOL, "case", without=sample.group, question=sample.question))
    kept: dict[str, Found] = {}
    for one in fuse_ranks(lists):
        if one.sample and one.sample.group != sample.group:
            kept.setdefault(one.sample.image, one)
    return list(kept.values())[:k]


def attach_neighbours(
    index: Index,
    samples: Sequence[Sample],
    vectors: Mapping[str, NDArray[np.float32]],
    settings: Retrieval,
    counts: Sequence[int],
    reader: TextEncoder | None = None,
) -> list[Sample]:
    """Return samples with `counts` neighbours' answers (and passages) in their prompts; 0 leaves one as it is."""
    words: Sequence[str] | NDArray[np.float32] = [sample.prefix for sample in samples]
    if reader:
        words = reader.embed([sample.prefix for sample in samples])
    made = []
    for sample, count, asked in zip(samples, counts, words, strict=True):
        cases = find_neighbours(index, sample, vectors[sample.image], count, settings.by, asked) if count else []
        passages = index.table.near_text(asked, settings.passages, "passage") if count and settings.passages else []
        made.append(sample.model_copy(update={"context": compose_context(settings, cases, passages)}))
    return made


def compose_context(settings: Retrieval, cases: Sequence[Found], passages: Sequence[Found] = ()) -> Context | None:
    """Word what was found by the recipe's template; None where nothing was found."""
    if not cases and not passages:
        return None
    told = {
        "cases": settings.joint.join(_word_case(settings.case, one.sample) for one in cases if one.sample),
        "passages": settings.joint.join(" ".join(one.text.split()) for one in passages),
    }
    before, after = (_fill(part, told) for part in settings.template.split("{prefix}"))
    neighbours = [
        Neighbour(
            id=one.id,
            group=one.sample.group if one.sample else "",
            answer=(one.sample.answer or one.sample.suffix) if one.sample else None,
            distance=None if one.distance is None else round(one.distance, 4),
        )
        for one in (*cases, *passages)
    ]
    return Context(before=before, after=after, neighbours=tuple(neighbours))


def _fill(template: str, told: Mapping[str, str]) -> str:
    for name, text in told.items():
        template = template.replace(f"{{{name}}}", text)
    return template


def _word_case(template: str, sample: Sample) -> str:
    told = {"answer": sample.suffix or "", "question": sample.prefix, "category": sample.category or ""}
    return _fill(template, told)
