"""A written answer in, its canonical form out: answer, sub-answers, the layers it took, and what maps to nothing.

The same reader takes cells of a sheet and what a model wrote; it takes back exactly what `render_answer` writes.
Nothing is guessed: a wording that fits no option, or two as well, is a problem with its nearest candidates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from residency.data.quantity import is_timestamp, plain_text, read_age, read_bands, read_quantity, read_range
from residency.data.wording import LAYERS, Layer, Lexicon
from residency.types import Answer, AnswerSpec, Problem, Quantity, Question

_HARD = re.compile(r"[;\n|•]|,(?!\d)|(?<!\d),")
_SOFT = re.compile(r"[;\n|•]|,(?!\d)|(?<!\d),|\s(?:and|with|plus)\s|[&+]")
_REST = re.compile(r"\s*[(\[,;:]\s*|\s+-\s+|\s+(?:with|due to|because of|owing to)\s+", re.I)
_NUMBER_LAST = re.compile(r"(.*?\D)[\s:=]*(?:\b(?:is|of|at)\b\s*)?([+-]?\d[\d.,]*(?:e[+-]?\d+)?\s*[^\d\s]*)", re.I)
_NUMBER_FIRST = re.compile(r"([+-]?\d[\d.,]*\s*[^\d\s]{0,8})\s+(?:of\s+)?(.+)", re.I)
_NOTHING = frozenset(("none", "nothing"))


@dataclass(frozen=True)
class Parsed:
    """What a written answer says. `answer` is None where it maps to nothing; `unmapped` are the pieces that do not."""

    answer: Answer | None
    parts: dict[str, Answer] = field(default_factory=dict)
    layers: frozenset[Layer] = frozenset()
    problems: tuple[Problem, ...] = ()
    unmapped: tuple[str, ...] = ()


def parse_answer(question: Question, text: str, *, layers: Sequence[Layer] = LAYERS, unit: str | None = None) -> Parsed:
    """Return the canonical form of a written answer.

    Args:
        question: with its vocabulary, unit and sub-answers.
        text: as written in a cell or by a model.
        layers: which differences are forgiven; leave `spelling` out to judge a model strictly.
        unit: of a bare number, where the column's heading names it (`HC (cm)`).
    """
    return answer_reader(question).read(text, tuple(layers), unit)


@lru_cache(maxsize=256)
def answer_reader(question: Question) -> "AnswerReader":
    """Return the question's reader; keep it where thousands of answers are read."""
    return AnswerReader(question)


class AnswerReader:
    """Reads answers to one question; equal texts are read once."""

    def __init__(self, question: Question) -> None:
        self.question = question
        others = [name for spec in question.parts for name in spec.names]
        self._main = Lexicon(question.options, others)
        self._parts = {spec.id: Lexicon(spec.options, question.names) for spec in question.parts if spec.options}
        self._numbers = {spec.id: spec for spec in question.parts if spec.type == "number"}
        self._bands = read_bands(question.names) if question.type == "ordinal" else ()
        self._implied = {
            (spec.id, option.name): main
            for spec in question.parts
            if question.type == "choice" and spec.type == "choice"
            for option in spec.options
            for main in [_first_name(question.names, (option.name, *option.synonyms))]
            if main
        }
        self._seen: dict[tuple[str, tuple[Layer, ...], str | None], Parsed] = {}

    def read(self, text: str, layers: tuple[Layer, ...] = LAYERS, unit: str | None = None) -> Parsed:
        """Return the canonical form of one written answer."""
        key = (text, layers, unit)
        if key not in self._seen:
            if len(self._seen) > 50_000:
                self._seen.clear()
            self._seen[key] = self._read(text, layers, unit)
        return self._seen[key]

    def in_order(self, parsed: Parsed) -> tuple[Answer, dict[str, Answer]]:
        """Return the answer and parts with the members of sets in the vocabulary's order."""
        assert parsed.answer is not None
        answer = parsed.answer
        if isinstance(answer, tuple):
            answer = tuple(sorted(answer, key=self._main.rank.__getitem__))
        parts = {
            id: tuple(sorted(value, key=self._parts[id].rank.__getitem__)) if isinstance(value, tuple) else value
            for id, value in parsed.parts.items()
        }
        return answer, parts

    def _read(self, text: str, layers: tuple[Layer, ...], unit: str | None) -> Parsed:
        plain = plain_text(text) if "space" in layers else text
        if not plain:
            return Parsed(None)
        if is_timestamp(plain):
            return _failed("timestamp", f"`{plain}` is a date or a time, not an answer", plain)
        if self.question.type == "number":
            return self._number(self.question, plain, unit)
        if self.question.type == "text":
            found = self._main.find(plain, layers) if self.question.options else None
            return Parsed(found.name, layers=found.layers) if found else Parsed(plain)
        read = self._read_set if self.question.type == "set" else self._read_one
        if "spelling" in layers:
            strict = read(plain, tuple(layer for layer in layers if layer != "spelling"), unit)
            if not strict.problems:
                return strict
        return read(plain, layers, unit)

    # One name, with sub-answers beside it

    def _read_one(self, text: str, layers: tuple[Layer, ...], unit: str | None) -> Parsed:
        whole = self._head(text, layers)
        if whole and not whole.problems:
            return whole
        best = whole
        for cut in reversed(list(_REST.finditer(text))):
            head = self._head(text[: cut.start()], layers)
            if head is None or head.problems:
                continue
            full = self._with_rest(head, text[cut.end() :].rstrip(" )]."), layers)
            if not full.problems:
                return full
            best = best if best and best.answer else full
        return best or _unmapped(self._main, text)

    def _head(self, text: str, layers: tuple[Layer, ...]) -> Parsed | None:
        """Read text as a main answer, a number that falls into one, or a sub-answer that implies one."""
        if found := self._main.find(text, layers):
            return Parsed(found.name, layers=found.layers)
        if self._bands and (banded := self._banded(text)):
            return banded
        for id, lexicon in self._parts.items():
            found = lexicon.find(text, layers)
            if found and (main := self._implied.get((id, found.name))):
                return Parsed(main, {id: found.name}, found.layers | {"vocabulary"})
        return None

    def _banded(self, text: str) -> Parsed | None:
        bounds = read_range(text)
        if bounds:
            for band in self._bands:
                if band.named == bounds:
                    return Parsed(band.name, layers=frozenset(("space", "vocabulary")))
            return None
        for id, spec in self._numbers.items():
            value = self._value(spec, text)
            if value is None:
                continue
            if _outside(spec, value):
                return _failed("out-of-range", f"`{text}` lies outside {_limits(spec)}", text)
            for band in self._bands:
                if band.holds(value):
                    return Parsed(band.name, {id: _quantity(value, spec)}, frozenset(("vocabulary",)))
        return None

    def _value(self, spec: AnswerSpec, text: str) -> float | None:
        """Return the one number that text means, in the spec's unit, or None."""
        if spec.unit == "weeks":
            days = read_age(text)
            return None if days is None else days / 7
        values = read_quantity(text, spec.unit or "")
        return values[0] if len(values) == 1 else None

    def _with_rest(self, head: Parsed, rest: str, layers: tuple[Layer, ...]) -> Parsed:
        """Read what follows the main answer as its sub-answers; pieces are parted by `;`, or are one."""
        parts, used, problems = dict(head.parts), set(head.layers), []
        for piece in rest.split(";"):
            found = self._part(piece.strip(), parts, layers)
            if isinstance(found, Problem):
                problems.append(found)
                continue
            id, value, more = found
            if self._implied.get((id, str(value)), head.answer) != head.answer:
                message = f"`{piece.strip()}` contradicts `{head.answer}`"
                problems.append(Problem(kind="contradiction", message=message))
                continue
            parts[id] = value
            used |= more
        problems += self._unlike(head, parts)
        unmapped = tuple(rest.split(";")) if problems else ()
        return Parsed(head.answer, parts, frozenset(used), tuple(problems), unmapped)

    def _part(
        self, piece: str, taken: dict[str, Answer], layers: tuple[Layer, ...]
    ) -> tuple[str, Answer, frozenset[Layer]] | Problem:
        for spec in self.question.parts:
            if spec.id in taken:
                continue
            if spec.type == "number":
                value = self._value(spec, piece)
                if value is not None and not _outside(spec, value):
                    return spec.id, _quantity(value, spec), frozenset()
            elif spec.type == "set":
                names, used, lost = self._members(self._parts[spec.id], piece, layers)
                if names and not lost:
                    return spec.id, tuple(names), used
            elif spec.type == "text":
                return spec.id, piece, frozenset()
            elif found := self._parts[spec.id].find(piece, layers):
                return spec.id, found.name, found.layers
        near = tuple(name for lexicon in self._parts.values() for name in lexicon.near(piece))
        return Problem(kind="unmapped", message=f"`{piece}` maps to no sub-answer", candidates=near[:3])

    def _unlike(self, head: Parsed, parts: dict[str, Answer]) -> list[Problem]:
        """Return a problem where an exact number does not fall into the range beside it."""
        for band in self._bands:
            for id in self._numbers:
                value = parts.get(id)
                if band.name == head.answer and isinstance(value, Quantity) and not band.holds(value.value):
                    return [Problem(kind="contradiction", message=f"{value} is not within {band.name}")]
        return []

    # Several names, some measured

    def _read_set(self, text: str, layers: tuple[Layer, ...], unit: str | None) -> Parsed:
        if text.strip(" .").casefold() in _NOTHING:
            return Parsed(())
        parts: dict[str, Answer] = {}
        problems: list[Problem] = []
        names, used, lost = self._members(self._main, text, layers, parts, problems)
        for piece in lost:
            near = self._main.near(piece)
            problems.append(Problem(kind="unmapped", message=f"`{piece}` maps to no answer", candidates=near))
        answer = tuple(names) if names or not problems else None
        return Parsed(answer, parts, frozenset(used), tuple(problems), tuple(lost))

    def _members(
        self,
        lexicon: Lexicon,
        text: str,
        layers: tuple[Layer, ...],
        parts: dict[str, Answer] | None = None,
        problems: list[Problem] | None = None,
    ) -> tuple[list[str], frozenset[Layer], list[str]]:
        """Cut text at separators and take the longest runs of pieces that are members (names may hold `and`)."""
        ends = [0, *(place for cut in _SOFT.finditer(text) for place in cut.span()), len(text)]
        pieces = list(zip(ends[::2], ends[1::2], strict=True))
        names: list[str] = []
        lost: list[str] = []
        used: set[Layer] = set()
        start = 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + 4), start, -1):
                phrase = text[pieces[start][0] : pieces[end - 1][1]].strip(" .")
                if self._member(lexicon, phrase, layers, names, used, parts, problems):
                    break
            else:
                end = start + 1
                while end < len(pieces) and not _HARD.search(text[pieces[end - 1][1] : pieces[end][0]]):
                    end += 1
                phrase = text[pieces[start][0] : pieces[end - 1][1]].strip(" .")
                if phrase:
                    lost.append(phrase)
            start = end
        return names, frozenset(used), lost

    def _member(
        self,
        lexicon: Lexicon,
        phrase: str,
        layers: tuple[Layer, ...],
        names: list[str],
        used: set[Layer],
        parts: dict[str, Answer] | None,
        problems: list[Problem] | None,
    ) -> bool:
        """Take the phrase as a member, with its number if it carries one; say whether it is one."""
        if found := lexicon.find(phrase, layers):
            used |= found.layers
            if found.name not in names:
                names.append(found.name)
            return True
        if parts is None or problems is None or not any(map(str.isdigit, phrase)):
            return False
        for pattern, name_at, number_at in ((_NUMBER_LAST, 1, 2), (_NUMBER_FIRST, 2, 1)):
            cut = pattern.fullmatch(phrase)
            found = lexicon.find(cut[name_at].strip(" :=("), layers) if cut else None
            if not cut or not found:
                continue
            spec = self._numbers.get(f"{self.question.id}.{found.name}")
            read = self._number(spec, cut[number_at].strip(" )"), None) if spec else None
            if read is None or read.answer is None:
                message = read.problems[0].message if read else f"`{phrase}`: {found.name} takes no number"
                problems.append(Problem(kind=read.problems[0].kind if read else "no-number", message=message))
            elif spec and parts.setdefault(spec.id, read.answer) != read.answer:
                problems.append(Problem(kind="contradiction", message=f"`{phrase}`: measured twice, with two results"))
            used |= found.layers
            if found.name not in names:
                names.append(found.name)
            return True
        return False

    # A number

    def _number(self, spec: AnswerSpec, text: str, unit: str | None) -> Parsed:
        wanted = spec.unit or ""
        values = read_quantity(text, wanted, unit)
        if wanted == "weeks" and not values and (days := read_age(text)) is not None:
            values = (days / 7,)
        if not values:
            return _failed("unmapped", f"`{text}` is no number in {wanted}", text)
        fitting = [value for value in values if not _outside(spec, value)]
        if not fitting:
            return _failed("out-of-range", f"`{text}` lies outside {_limits(spec)}", text)
        if len(fitting) > 1:
            said = " or ".join(f"{value:g}" for value in fitting)
            return _failed("ambiguous-number", f"`{text}` may be {said} {wanted}", text)
        return Parsed(_quantity(fitting[0], spec))


def _first_name(names: Sequence[str], wordings: Sequence[str]) -> str | None:
    """Return the main name with which a sub-answer's wording begins (`abnormal VSD`: abnormal), the longest first."""
    for name in sorted(names, key=len, reverse=True):
        if any(wording == name or wording.startswith(name + " ") for wording in wordings):
            return name
    return None


def _quantity(value: float, spec: AnswerSpec) -> Quantity:
    return Quantity(value=round(value, 4), unit=spec.unit or "")


def _outside(spec: AnswerSpec, value: float) -> bool:
    low, high = spec.minimum, spec.maximum
    return (low is not None and value < low) or (high is not None and value > high)


def _limits(spec: AnswerSpec) -> str:
    low = "" if spec.minimum is None else f"{spec.minimum:g}"
    high = "" if spec.maximum is None else f"{spec.maximum:g}"
    return f"{low} to {high} {spec.unit}"


def _failed(kind: str, message: str, text: str) -> Parsed:
    return Parsed(None, problems=(Problem(kind=kind, message=message),), unmapped=(text,))


def _unmapped(lexicon: Lexicon, text: str) -> Parsed:
    problem = Problem(kind="unmapped", message=f"`{text}` maps to no answer", candidates=lexicon.near(text))
    return Parsed(None, problems=(problem,), unmapped=(text,))
