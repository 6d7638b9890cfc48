"""Training samples in, what they say of each image in numbers out: a fact is one canonical answer to one question."""

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from residency.types import Sample

MISSING = -1
PLACES = re.compile(r"(?:<loc_?\d{1,4}>)+")
"""Location tokens are no part of what is compared: augmentation moves what they point at."""
CATEGORY = ("category",)
"""The question that an image's category answers; a question of the sheet is a string."""


class Facts:
    """The facts of each image. Where two annotators answer a question differently, both hold.

    `width` is the most facts that an image has, `question_of` (F,) the question that each fact answers.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.numbers: dict[tuple[Hashable, Hashable], int] = {}
        self.questions: dict[Hashable, int] = {CATEGORY: 0}
        self.of_image: dict[str, list[int]] = defaultdict(list)
        askers: dict[str, set[Hashable]] = defaultdict(set)
        for sample in samples:
            self.questions.setdefault(sample.asks, len(self.questions))
            if sample.category is not None:
                self._learn(sample.image, (CATEGORY, sample.category))
            self._learn(sample.image, (sample.asks, _canonical(sample)))
            askers[_words(sample)].add(sample.asks)
        self.shared_words = {words for words, questions in askers.items() if len(questions) > 1}
        self.width = max(len(facts) for facts in self.of_image.values())
        self.question_of = np.array([self.questions[question] for question, _ in self.numbers])

    def fact_of(self, sample: Sample) -> int:
        """Return the fact that a training sample states."""
        return self.numbers[sample.asks, _canonical(sample)]

    def words_of(self, sample: Sample) -> str:
        """Return a sample's answer; words that answer several questions (yes, normal) follow their question."""
        words = _words(sample)
        return f"{sample.prefix} {words}" if words in self.shared_words else words

    def report_of(self, samples: Sequence[Sample]) -> str:
        """Return the answers of one image's samples as one text, in the questions' order, each once."""
        ordered = sorted(samples, key=lambda sample: (self.questions[sample.asks], self.words_of(sample)))
        return "; ".join(dict.fromkeys(self.words_of(sample) for sample in ordered))

    def pad(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Return rows of facts as a table (rows, width), filled with -1."""
        return np.array([[*row, *[MISSING] * (self.width - len(row))] for row in rows], dtype=np.int64)

    def tally(self) -> dict[int, int]:
        """Return in how many images each fact stands."""
        counts = dict.fromkeys(self.numbers.values(), 0)
        for facts in self.of_image.values():
            for fact in facts:
                counts[fact] += 1
        return counts

    def _learn(self, image: str, fact: tuple[Hashable, Hashable]) -> None:
        number = self.numbers.setdefault(fact, len(self.numbers))
        if number not in self.of_image[image]:
            self.of_image[image].append(number)


def _words(sample: Sample) -> str:
    return PLACES.sub(" ", sample.suffix or "").strip()


def _canonical(sample: Sample) -> Hashable:
    """Return an answer without its sub-answers (a set in any order is the same), else its words."""
    if sample.answer is None:
        return " ".join(_words(sample).casefold().split())
    return tuple(sorted(sample.answer)) if isinstance(sample.answer, tuple) else str(sample.answer)
