"""A written answer in, its canonical form out: answer, sub-answers, the layers it took, and what maps to nothing.

The same reader takes cells of a sheet and what a model wrote; it takes back exactly what `render_answer` writes.
Nothing is guessed: a wording that fits no option, or two as well, is a problem with its nearest candidates.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from residency.data.members import MemberReader
from residency.data.parsed import Parsed, as_quantity, failed, outside, read_number
from residency.data.quantity import (
    is_timestamp,
    mend_units,
    plain_text,
    read_age,
    read_bands,
    read_quantity,
    read_range,
)
from residency.data.wording import LAYERS, Layer, Lexicon
from residency.questionnaire import render_answer
from residency.types import Answer, AnswerSpec, Problem, Quantity, Question

_REST = re.compile(r"\s*[(\[,;:]\s*|\s+-\s+|\s+(?:with|due to|because of|owing to)\s+", re.I)
_NOTHING = frozenset(("none", "nothing"))
_REMEMBERED = 50_000
_LONGEST = 2000


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
        named = {id.removeprefix(f"{question.id}."): spec for id, spec in self._numbers.items()}
        self._members = MemberReader(self._main, named)
        self._implied = _implied_answers(question)
        self._seen: dict[tuple[str, tuple[Layer, ...], str | None], Parsed] = {}
        self._settled: dict[tuple[str, tuple[Layer, ...], str | None], tuple[Parsed, str]] = {}

    def read(self, text: str, layers: tuple[Layer, ...] = LAYERS, unit: str | None = None) -> Parsed:
        """Return the canonical form of one written answer."""
        key = (text, layers, unit)
        if key not in self._seen:
            if len(self._seen) > _REMEMBERED:
                self._seen.clear()
            self._seen[key] = self._read(text, layers, unit)
        return self._seen[key]

    def settle(self, text: str, layers: tuple[Layer, ...] = LAYERS, unit: str | None = None) -> tuple[Parsed, str]:
        """Return a cell's answer as a dataset holds it, sets in the vocabulary's order, and its text ('' if none)."""
        key = (text, layers, unit)
        if key not in self._settled:
            parsed = self.read(text, layers, unit)
            rendered = ""
            if parsed.answer is not None and not parsed.problems:
                parsed = self._in_order(parsed) if "vocabulary" in layers else parsed
                assert parsed.answer is not None
                rendered = render_answer(self.question, parsed.answer, parsed.parts)
            if len(self._settled) > _REMEMBERED:
                self._settled.clear()
            self._settled[key] = (parsed, rendered)
        return self._settled[key]

    def _in_order(self, parsed: Parsed) -> Parsed:
        answer = parsed.answer
        if isinstance(answer, tuple):
            answer = tuple(sorted(answer, key=self._main.rank.__getitem__))
        parts = {
            id: tuple(sorted(value, key=self._parts[id].rank.__getitem__)) if isinstance(value, tuple) else value
            for id, value in parsed.parts.items()
        }
        return replace(parsed, answer=answer, parts=parts)

    def _read(self, text: str, layers: tuple[Layer, ...], unit: str | None) -> Parsed:
        lines = text.splitlines() if self.question.type == "set" else [text]
        plain = "\n".join(map(plain_text, lines)).strip() if "space" in layers else text
        if not plain:
            return Parsed(None)
        if len(plain) > _LONGEST and self.question.type != "text":
            return failed("unmapped", f"{len(plain)} letters are no answer to {self.question.id}", plain)
        if is_timestamp(plain):
            return failed("timestamp", f"`{plain}` is a date or a time, not an answer", plain)
        if self.question.type == "number":
            return read_number(self.question, plain, unit)
        if self.question.type == "text":
            found = self._main.find(plain, layers)
            return Parsed(found.name, layers=found.layers) if found else Parsed(plain)
        read = self._read_set if self.question.type == "set" else self._read_one
        if "spelling" in layers:
            strict = read(plain, tuple(layer for layer in layers if layer != "spelling"))
            if not strict.problems:
                return strict
            if self._bands and (mended := mend_units(plain)) != plain:
                parsed = read(mended, layers)
                return replace(parsed, layers=parsed.layers | {"spelling"})
        return read(plain, layers)

    def _read_set(self, text: str, layers: tuple[Layer, ...]) -> Parsed:
        if text.strip(" .").casefold() in _NOTHING:
            return Parsed(())
        members = self._members.read(text, layers)
        problems = list(members.problems)
        for piece in members.lost:
            near = self._main.near(piece)
            problems.append(Problem(kind="unmapped", message=f"`{piece}` maps to no answer", candidates=near))
        answer = tuple(members.names) if members.names else None
        return Parsed(answer, members.numbers, frozenset(members.layers), tuple(problems), tuple(members.lost))

    def _read_one(self, text: str, layers: tuple[Layer, ...]) -> Parsed:
        """Read one name with its sub-answers: the longest beginning that is a main answer, then what follows it."""
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
        return best or failed("unmapped", f"`{text}` maps to no answer", text, self._main.near(text))

    def _head(self, text: str, layers: tuple[Layer, ...]) -> Parsed | None:
        """Read text as a main answer, a number that falls into one, or a sub-answer that implies one."""
        if found := self._main.find(text, layers):
            return Parsed(found.name, layers=found.layers)
        if self._bands and "vocabulary" in layers and (banded := self._banded(text)):
            return banded
        for id, lexicon in self._parts.items():
            found = lexicon.find(text, layers)
            if found and (main := self._implied.get((id, found.name))):
                return Parsed(main, {id: found.name}, found.layers | {"vocabulary"})
        return None

    def _banded(self, text: str) -> Parsed | None:
        """Read text as one of the ranges otherwise written, or as a number that falls into one."""
        if bounds := read_range(text):
            named = [band.name for band in self._bands if band.named == bounds]
            return Parsed(named[0], layers=frozenset(("space", "vocabulary"))) if named else None
        for id, spec in self._numbers.items():
            value = _plain_number(spec, text)
            if value is None:
                continue
            if outside(spec, value):
                return read_number(spec, text)
            for band in self._bands:
                if band.holds(value) and band.named == (value, value) and len(re.findall(r"\d+", text)) == 1:
                    return Parsed(band.name, layers=frozenset(("space", "vocabulary")))
                if band.holds(value):
                    return Parsed(band.name, {id: as_quantity(spec, value)}, frozenset(("vocabulary",)))
            near = tuple(sorted(self._bands, key=lambda band: min(abs(band.low - value), abs(band.high - value))))[:2]
            message = f"`{text}` falls into none of the ranges"
            return failed("unmapped", message, text, tuple(band.name for band in near))
        return None

    def _with_rest(self, head: Parsed, rest: str, layers: tuple[Layer, ...]) -> Parsed:
        """Read what follows the main answer as its sub-answers; pieces are parted by `;`, or are one."""
        parts, used, problems, lost = dict(head.parts), set(head.layers), [], []
        for piece in map(str.strip, rest.split(";")):
            found = self._part(piece, parts, layers)
            if isinstance(found, Problem):
                again = self._head(piece, layers)
                if again and again.answer == head.answer and not again.problems:
                    parts, used = again.parts | parts, used | again.layers
                    continue
                problems.append(found)
                lost.append(piece)
                continue
            id, value, more = found
            if self._implied.get((id, str(value)), head.answer) != head.answer:
                message = f"`{piece}` contradicts `{head.answer}`"
                problems.append(Problem(kind="contradiction", message=message))
                continue
            parts[id] = value
            used |= more
        problems += self._unlike(head, parts)
        return Parsed(head.answer, parts, frozenset(used), tuple(problems), tuple(lost))

    def _part(
        self, piece: str, taken: dict[str, Answer], layers: tuple[Layer, ...]
    ) -> tuple[str, Answer, frozenset[Layer]] | Problem:
        """Read one piece as the first sub-answer, not yet taken, that it fits."""
        for spec in self.question.parts:
            if spec.id in taken:
                continue
            if spec.type == "number":
                value = _plain_number(spec, piece)
                if value is not None and not outside(spec, value):
                    return spec.id, as_quantity(spec, value), frozenset()
            elif spec.type == "set":
                members = MemberReader(self._parts[spec.id]).read(piece, layers)
                if members.names and not members.lost:
                    return spec.id, tuple(members.names), frozenset(members.layers)
            elif spec.type == "text":
                return spec.id, piece, frozenset()
            elif found := self._parts[spec.id].find(piece, layers):
                return spec.id, found.name, found.layers
        near = tuple(name for lexicon in self._parts.values() for name in lexicon.near(piece))
        return Problem(kind="unmapped", message=f"`{piece}` maps to no sub-answer", candidates=near[:3])

    def _unlike(self, head: Parsed, parts: dict[str, Answer]) -> list[Problem]:
        """Return a problem where an exact number does not fall into the range beside it."""
        bands = [band for band in self._bands if band.name == head.answer]
        values = [parts[id] for id in self._numbers if id in parts]
        return [
            Problem(kind="contradiction", message=f"{value} is not within {band.name}")
            for band in bands
            for value in values
            if isinstance(value, Quantity) and not band.holds(value.value)
        ]


def _implied_answers(question: Question) -> dict[tuple[str, str], str]:
    """Return the main answer that a sub-answer implies: the one its wording begins with (`abnormal VSD`: abnormal)."""
    implied = {}
    for spec in question.parts:
        if question.type != "choice" or spec.type != "choice":
            continue
        for option in spec.options:
            for name in sorted(question.names, key=len):
                if any(wording.startswith(name + " ") for wording in (option.name, *option.synonyms)):
                    implied[spec.id, option.name] = name
    return implied


def _plain_number(spec: AnswerSpec, text: str) -> float | None:
    """Return the one number that text means in the spec's unit, whatever its range, or None."""
    if spec.unit == "weeks":
        days = read_age(text)
        return None if days is None else days / 7
    values = read_quantity(text, spec.unit or "")
    return values[0] if len(values) == 1 else None
