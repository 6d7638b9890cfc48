"""The text of a set in, its members out, each with its number where one is measured, and the pieces that are none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from residency.data.parsed import read_number
from residency.data.wording import Layer, Lexicon
from residency.types import Answer, AnswerSpec, Problem

_COMMA = r",(?!\d)|(?<!\d),"
_HARD = re.compile(rf"[;\n|•、]|{_COMMA}")
_SOFT = re.compile(rf"[;\n|•、]|{_COMMA}|\s(?:and|with|plus)\s|[&+]", re.I)
_NUMBER = r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?"
_NAME_NUMBER = re.compile(rf"(?P<name>.*?\D)[\s:=]*(?:\b(?:is|of|at)\b\s*)?(?P<number>{_NUMBER}\s*[^\d\s]*)", re.I)
_NUMBER_NAME = re.compile(rf"(?P<number>{_NUMBER}\s*[^\d\s]{{0,8}})\s+(?:of\s+)?(?P<name>.+)", re.I)
_LONGEST = 4
"""A member's name spans at most this many pieces between separators (`cerebellar and cisterna magna`: two)."""


@dataclass
class Members:
    """The members found, in order, their numbers by sub-answer id, the layers it took, and what was not understood."""

    names: list[str] = field(default_factory=list)
    numbers: dict[str, Answer] = field(default_factory=dict)
    layers: set[Layer] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class MemberReader:
    """Reads sets of one vocabulary; `measured` maps a member's name to the sub-answer that its number is."""

    def __init__(self, lexicon: Lexicon, measured: Mapping[str, AnswerSpec] | None = None) -> None:
        self.lexicon, self.measured = lexicon, dict(measured or {})

    def read(self, text: str, layers: tuple[Layer, ...]) -> Members:
        """Cut text at separators and take the longest runs of pieces that are members (names may hold `and`)."""
        ends = [0, *(place for cut in _SOFT.finditer(text) for place in cut.span()), len(text)]
        pieces = list(zip(ends[::2], ends[1::2], strict=True))
        members = Members()
        start = 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + _LONGEST), start, -1):
                if self._take(_slice(text, pieces, start, end), layers, members):
                    break
            else:
                end = start + 1
                while end < len(pieces) and not _HARD.search(text[pieces[end - 1][1] : pieces[end][0]]):
                    end += 1
                members.lost += filter(None, [_slice(text, pieces, start, end)])
            start = end
        return members

    def _take(self, phrase: str, layers: tuple[Layer, ...], members: Members) -> bool:
        """Add the phrase if it is a member, or a member with its number; say whether it is."""
        if found := self.lexicon.find(phrase, layers):
            self._add(found.name, found.layers, members)
            return True
        if not self.measured or not any(map(str.isdigit, phrase)):
            return False
        for pattern in (_NAME_NUMBER, _NUMBER_NAME):
            cut = pattern.fullmatch(phrase)
            found = self.lexicon.find(cut["name"].strip(" :=("), layers) if cut else None
            if cut and found:
                self._add(found.name, found.layers, members)
                self._measure(found.name, cut["number"].strip(" )"), phrase, members)
                return True
        return False

    def _add(self, name: str, layers: frozenset[Layer], members: Members) -> None:
        members.layers |= layers
        if name not in members.names:
            members.names.append(name)

    def _measure(self, name: str, number: str, phrase: str, members: Members) -> None:
        spec = self.measured.get(name)
        if spec is None:
            members.problems.append(Problem(kind="no-number", message=f"`{phrase}`: {name} takes no number"))
            return
        read = read_number(spec, number)
        members.problems += read.problems
        if read.answer is not None and members.numbers.setdefault(spec.id, read.answer) != read.answer:
            message = f"`{phrase}`: measured twice, with two results"
            members.problems.append(Problem(kind="contradiction", message=message))


def _slice(text: str, pieces: list[tuple[int, int]], start: int, end: int) -> str:
    return text[pieces[start][0] : pieces[end - 1][1]].strip(" .")
