"""Samples in, what they hold out: coverage by category and question, balance of answers, images to annotate next."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from residency.types import Quantity, Record, Sample

TO_ANNOTATE = 24


class Suggestion(Record):
    """An image without answers that would balance the dataset."""

    image: str
    category: str
    why: str


def count_coverage(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Return, for each category, how many images there are (`images`) and how many have an answer to each question."""
    seen: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for sample in samples:
        row = seen[sample.category or "(no category)"]
        row["images"].add(sample.image)
        if sample.suffix is not None:
            row[sample.question or "(free)"].add(sample.image)
    return {name: {key: len(images) for key, images in row.items()} for name, row in sorted(seen.items())}


def count_answers(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Return how often each canonical answer stands, most frequent first; numbers are counted by ranges, rising."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    numbers: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for sample in samples:
        if sample.question is None or sample.answer is None:
            continue
        for id, value in ((sample.question, sample.answer), *sample.parts.items()):
            if isinstance(value, Quantity):
                numbers[id, value.unit].append(value.value)
            elif isinstance(value, tuple):
                counts[id].update(value)
            else:
                counts[id][value] += 1
    ranked = {id: dict(sorted(count.items(), key=lambda item: (-item[1], item[0]))) for id, count in counts.items()}
    binned = {id: _bin_numbers(values, unit) for (id, unit), values in numbers.items()}
    return dict(sorted((ranked | binned).items()))


def _bin_numbers(values: Sequence[float], unit: str) -> dict[str, int]:
    """Return counts by about eight ranges of equal, round width."""
    low, high = min(values), max(values)
    rough = max((high - low) / 8, 1e-6)
    power = 10 ** math.floor(math.log10(rough))
    width = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    counts = Counter(math.floor(value / width) for value in values)
    return {f"{place * width:g} to {(place + 1) * width:g} {unit}": counts[place] for place in sorted(counts)}


def suggest_images(samples: Sequence[Sample], limit: int = TO_ANNOTATE) -> list[Suggestion]:
    """Return images without answers, of the categories with the fewest annotated images first, each of a new group."""
    annotated = {sample.image for sample in samples if sample.suffix is not None}
    firsts = one_each(samples)
    held = Counter(sample.category or "" for sample in firsts if sample.image in annotated)
    used = {sample.group for sample in firsts if sample.image in annotated}
    waiting: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(firsts, key=lambda sample: (sample.group in used, sample.image)):
        if sample.image not in annotated:
            waiting[sample.category or ""].append(sample)
    chosen: list[Suggestion] = []
    while waiting and len(chosen) < limit:
        category = min(waiting, key=lambda name: (held[name], name))
        fresh = [sample for sample in waiting[category] if sample.group not in used]
        sample = (fresh or waiting[category])[0]
        why = f"{held[category]} annotated in this category" + ("" if fresh else "; its group is annotated already")
        chosen.append(Suggestion(image=sample.image, category=category, why=why))
        used.add(sample.group)
        held[category] += 1
        waiting[category].remove(sample)
        if not waiting[category]:
            del waiting[category]
    return chosen


def one_each(samples: Sequence[Sample]) -> list[Sample]:
    """Return one sample an image: its first."""
    firsts: dict[str, Sample] = {}
    for sample in samples:
        firsts.setdefault(sample.image, sample)
    return list(firsts.values())
