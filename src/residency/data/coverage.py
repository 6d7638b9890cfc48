"""Samples in, what they hold out: coverage by category and question, balance of answers, images to annotate next."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from residency.questionnaire import render_value
from residency.types import Record, Sample

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
    """Return how often each canonical answer stands, most frequent first; numbers are left to their histogram."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.question is None or sample.answer is None:
            continue
        for id, value in ((sample.question, sample.answer), *sample.parts.items()):
            counts[id].update(value if isinstance(value, tuple) else [render_value(value)])
    return {
        id: dict(sorted(count.items(), key=lambda item: (-item[1], item[0]))) for id, count in sorted(counts.items())
    }


def suggest_images(samples: Sequence[Sample], limit: int = TO_ANNOTATE) -> list[Suggestion]:
    """Return images without answers, of the categories with the fewest annotated images first, each of a new group."""
    annotated = {sample.image for sample in samples if sample.suffix is not None}
    held = Counter(sample.category or "" for sample in one_each(samples) if sample.image in annotated)
    used = {sample.group for sample in samples if sample.image in annotated}
    waiting: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(one_each(samples), key=lambda sample: (sample.group in used, sample.image)):
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
    """Return one sample an image."""
    return list({sample.image: sample for sample in reversed(samples)}.values())[::-1]
