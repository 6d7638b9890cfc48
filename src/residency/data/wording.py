"""A vocabulary in, a lexicon out that finds which canonical name a person's wording means, or says that it cannot.

Three layers, each optional: `space` (case, spaces, hyphens, punctuation), `vocabulary` (synonyms, word order) and
`spelling` (the one clearly nearest wording, by optimal string alignment: Damerau 1964). Numbers and known words are
never corrected, so `left` cannot become `right`, nor `normal` `abnormal`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Literal

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from residency.data.quantity import plain_text
from residency.types import Option

Layer = Literal["space", "spelling", "vocabulary"]
LAYERS: tuple[Layer, ...] = ("space", "spelling", "vocabulary")
SIDES = frozenset(
    ["left", "right", "top", "bottom", "upper", "lower", "up", "down", "front", "back", "anterior", "posterior"]
)
_BREAKS = re.compile(r"(?<!\d)[.,+]|[.,](?!\d)|[\s\-_/;:()\[\]{}\"'`*!?。]+")
_DIGIT_EDGE = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
_MIN_WORD, _LONG_WORD, _LONG_PHRASE = 4, 10, 14


@lru_cache(maxsize=1 << 16)
def split_words(text: str) -> tuple[str, ...]:
    """Return the words of text as they are compared: lower case, no punctuation, digits apart from letters."""
    text = _BREAKS.sub(" ", plain_text(text).casefold())
    words = _DIGIT_EDGE.sub(" ", text).replace(",", ".").split()
    return tuple(word for word in words if word != "the")


@dataclass(frozen=True, slots=True)
class Found:
    """The canonical name that a wording means, and the layers it took to see it."""

    name: str
    layers: frozenset[Layer] = frozenset()


class Lexicon:
    """The wordings of one vocabulary. `others` are further known words, which are never corrected into its own."""

    def __init__(self, options: Iterable[Option], others: Iterable[str] = ()) -> None:
        options = tuple(options)
        self.names = tuple(option.name for option in options)
        self.rank = {name: place for place, name in enumerate(self.names)}
        self._exact = frozenset(self.names)
        self._names = {split_words(name): name for name in self.names}
        self._wordings = dict(self._names)
        synonyms = [(split_words(synonym), option.name) for option in options for synonym in option.synonyms]
        doubtful = {words for words, name in synonyms if dict(synonyms)[words] != name}
        for words, name in synonyms:
            if words not in doubtful:
                self._wordings.setdefault(words, name)
        self._sorted: dict[tuple[str, ...], str | None] = {}
        for words, name in self._wordings.items():
            key = tuple(sorted(words))
            self._sorted[key] = name if self._sorted.get(key, name) == name else None
        self._joined = {words: " ".join(words) for words in self._wordings}
        self.words = frozenset(word for words in self._wordings for word in words) | {
            word for other in others for word in split_words(other)
        }
        self._spelled: dict[tuple[tuple[str, ...], bool], Found | None] = {}

    def find(self, text: str, layers: Sequence[Layer] = LAYERS) -> Found | None:
        """Return what the wording means, by the layers allowed; None where nothing fits or two things fit as well."""
        if text in self._exact:
            return Found(text)
        if "space" not in layers:
            return None
        words = split_words(text)
        if not words:
            return None
        if name := self._names.get(words):
            return Found(name, frozenset(("space",)))
        if "vocabulary" in layers:
            if name := self._wordings.get(words):
                return Found(name, frozenset(("space", "vocabulary")))
            if name := self._any_order(words):
                return Found(name, frozenset(("space", "vocabulary")))
        if "spelling" not in layers:
            return None
        key = (words, "vocabulary" in layers)
        if key not in self._spelled:
            self._spelled[key] = self._correct(words, self._wordings if key[1] else self._names)
        return self._spelled[key]

    def near(self, text: str, limit: int = 3) -> tuple[str, ...]:
        """Return the names nearest to text, best first, for a person to choose from."""
        hits = process.extract(" ".join(split_words(text)), self._joined, scorer=fuzz.token_sort_ratio, limit=limit * 3)
        return tuple(dict.fromkeys(self._wordings[words] for _, score, words in hits if score >= 30))[:limit]

    def _any_order(self, words: tuple[str, ...]) -> str | None:
        if sum(word in SIDES for word in words) > 1:
            return None
        return self._sorted.get(tuple(sorted(words)))

    def _correct(self, words: tuple[str, ...], wordings: dict[tuple[str, ...], str]) -> Found | None:
        """Return the one name whose wording is nearest, if no other name's wording is as near."""
        joined = " ".join(words)
        budget = 2 if len(joined) >= _LONG_PHRASE else 1
        best: dict[str, tuple[int, bool]] = {}
        for target, name in wordings.items():
            if abs(len(self._joined[target]) - len(joined)) > budget:
                continue
            cost = self._cost(words, joined, target, budget)
            if cost is not None:
                edits, moved = cost
                best[name] = min(best.get(name, (9, True)), (edits, moved or target not in self._names))
        ranked = sorted(best.items(), key=lambda item: item[1])
        if not ranked or (len(ranked) > 1 and ranked[1][1][0] == ranked[0][1][0]):
            return None
        name, (_, reworded) = ranked[0]
        return Found(name, frozenset(("space", "spelling", "vocabulary") if reworded else ("space", "spelling")))

    def _cost(
        self, words: tuple[str, ...], joined: str, target: tuple[str, ...], budget: int
    ) -> tuple[int, bool] | None:
        """Return the edits from words to target and whether the order changed; None where that is not a misspelling."""
        if _digits(words) != _digits(target):
            return None
        if len(words) != len(target):
            return (1, False) if _parted(joined, self._joined[target]) else None
        in_place = [(word, wanted) for word, wanted in zip(words, target, strict=True) if word != wanted]
        cost = self._edits(in_place, len(joined))
        if cost is not None:
            return (cost, False) if cost <= budget else None
        if sum(word in SIDES for word in target) > 1:
            return None
        left, wanted = list(words), list(target)
        for word in words:
            if word in wanted:
                left.remove(word)
                wanted.remove(word)
        if len(left) > 2:
            return None
        costs = [self._edits(list(zip(left, order, strict=True)), len(joined)) for order in permutations(wanted)]
        known = [cost for cost in costs if cost is not None and cost <= budget]
        return (min(known), True) if known else None

    def _edits(self, pairs: list[tuple[str, str]], length: int) -> int | None:
        """Return the edits of all pairs together; None where a pair is not a word and its misspelling."""
        total = 0
        for word, wanted in pairs:
            short = min(len(word), len(wanted))
            if word in self.words or word in SIDES or any(map(str.isdigit, word + wanted)):
                return None
            if short < _MIN_WORD - 1 or (len(wanted) < _MIN_WORD and length < _LONG_PHRASE):
                return None
            allowed = 2 if len(wanted) >= _LONG_WORD else 1
            edits = OSA.distance(word, wanted, score_cutoff=allowed)
            if edits > allowed:
                return None
            total += edits
        return total


def _digits(words: Sequence[str]) -> list[str]:
    return sorted(word for word in words if any(map(str.isdigit, word)))


def _parted(joined: str, target: str) -> bool:
    """Say whether two phrases differ only by one space in or between words."""
    return abs(joined.count(" ") - target.count(" ")) == 1 and joined.replace(" ", "") == target.replace(" ", "")
