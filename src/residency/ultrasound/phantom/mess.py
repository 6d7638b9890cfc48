"""The defects of real answer sheets: clean rows and a random generator in, messy rows and what was planted out.

Rates follow what a public sheet of 18,936 rows shows (methods.md): double spaces in 19 to 33% of rows, full stops
in 5% of answers, misspellings in about 7%, capitals, word order, synonyms, impossible values, dates. Misspellings
are random edits, each with one possible origin in the vocabulary, and never come from a list.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from numpy.random import Generator
from rapidfuzz.distance import OSA

from residency.questionnaire import load_questionnaire
from residency.types import Record

Cell = str | float | datetime | None
SHEET = "Answers"
ROW_SPACES = (0.19, 0.33)
RATES = {"synonym": 0.05, "word-order": 0.03, "misspelling": 0.07, "capitals": 0.10, "full-stop": 0.05}
IMAGE_RATE, IMPOSSIBLE_RATE, TIMESTAMP_RATE = 0.03, 0.004, 0.004
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
LINKS = frozenset(("of", "to", "with", "in", "and", "after", "up", "at", "for"))
SHORTEST = 5


class Defect(Record):
    """One planted defect: where, of what kind, the text before and after it, and whether it can be undone."""

    sheet: str
    cell: str
    kind: str
    before: str
    after: str
    restorable: bool


@dataclass(frozen=True)
class Planted:
    """The messy rows and every defect in them, in the order of planting."""

    rows: list[list[Cell]]
    defects: list[Defect]


def plant_defects(rows: Sequence[Sequence[Cell]], headings: Sequence[str], rng: Generator) -> Planted:
    """Return copies of the rows with defects; the sheet's first row is its headings."""
    asked = {k: heading[:2].lower() for k, heading in enumerate(headings) if re.match(r"Q\d:", heading)}
    spaced = rng.uniform(*ROW_SPACES)
    messy, defects = [list(row) for row in rows], []
    for number, row in enumerate(messy):
        answered = [k for k in asked if isinstance(row[k], str)]
        # A cell may bear several defects; its row's double space is one more.
        wide = int(rng.choice(answered)) if answered and rng.random() < spaced else None
        for k in [0, *answered]:
            steps = _spoil_image(row[k], rng) if k == 0 else _spoil_answer(asked[k], row[k], k == wide, rng)
            place = f"{_letter(k)}{number + 2}"
            for kind, after in steps:
                lost = kind in ("impossible", "timestamp")
                before, row[k] = row[k], after
                shown = {"sheet": SHEET, "cell": place, "kind": kind, "before": str(before), "after": str(after)}
                defects.append(Defect(**shown, restorable=not lost))
    return Planted(messy, defects)


def _spoil_answer(question: str, cell: Cell, wide: bool, rng: Generator) -> list[tuple[str, Cell]]:
    """Return the defects of one answer, each with the cell's value after it."""
    assert isinstance(cell, str)
    if question == "q5":
        draw = rng.random()
        if draw < IMPOSSIBLE_RATE:
            return [("impossible", f"{rng.integers(12, 30)}-{rng.integers(15, 40)}0 weeks")]
        if draw < IMPOSSIBLE_RATE + TIMESTAMP_RATE:
            # A spreadsheet program takes `8-13` for a date.
            return [("timestamp", datetime(2026, 8, 13))]
    steps: list[tuple[str, Cell]] = []
    text: str = cell
    for kind, rate in RATES.items():
        if rng.random() < rate:
            spoiled = SPOILERS[kind](question, text, rng)
            if spoiled is not None and spoiled != text:
                steps.append((kind, spoiled))
                text = spoiled
    if wide and " " in text:
        gaps = [found.start() for found in re.finditer(" ", text)]
        gap = int(rng.choice(gaps))
        steps.append(("spaces", text[:gap] + " " * int(rng.integers(2, 4)) + text[gap + 1 :]))
    return steps


def _spoil_image(cell: Cell, rng: Generator) -> list[tuple[str, Cell]]:
    assert isinstance(cell, str)
    if rng.random() >= IMAGE_RATE:
        return []
    stem = cell.rsplit(".", 1)[0]
    variants = [stem, f"{stem}.PNG", f"{stem}.jpg", cell.upper(), cell.lower()]
    return [("image-name", str(rng.choice([name for name in variants if name != cell])))]


def replace_synonym(question: str, text: str, rng: Generator) -> str | None:
    """Return the text with one wording replaced by another of the same meaning, or None where none has another."""
    found = [
        (start, end, name)
        for start, end, name in find_wordings(question, text)
        if len(_wordings(question)[1][name]) > 1
    ]
    if not found:
        return None
    start, end, name = found[int(rng.integers(len(found)))]
    others = [other for other in _wordings(question)[1][name] if other != text[start:end].casefold()]
    return text[:start] + str(rng.choice(others)) + text[end:]


def swap_words(question: str, text: str, rng: Generator) -> str | None:
    """Return the text with two neighbouring words of one name swapped (`closed normal cervix`), or None."""
    found = []
    for start, end, _ in find_wordings(question, text):
        words = text[start:end].split(" ")
        if (
            2 <= len(words) <= 4
            and not LINKS & {word.casefold() for word in words}
            and text[start:end].replace(" ", "").isalpha()
        ):
            found.append((start, end, words))
    if not found:
        return None
    start, end, words = found[int(rng.integers(len(found)))]
    k = int(rng.integers(len(words) - 1))
    words = [*words[:k], words[k + 1], words[k], *words[k + 2 :]]
    swapped = " ".join(words)
    taken = swapped.casefold() in _wordings(question)[0]
    return None if taken else text[:start] + swapped + text[end:]


def misspell_word(question: str, text: str, rng: Generator) -> str | None:
    """Return the text with one edit in one word of five letters or more, or None.

    The edit is random: a letter inserted, deleted, swapped with the next, or struck on the neighbouring key. It
    leaves its name one edit away and every other name of the question farther, so that it has one origin.
    """
    found = find_wordings(question, text)
    places = [
        (start, end, name, start + word.start(), start + word.end())
        for start, end, name in found
        for word in re.finditer(rf"[A-Za-z]{{{SHORTEST},}}", text[start:end])
    ]
    for _ in range(6 if places else 0):
        start, end, name, low, high = places[int(rng.integers(len(places)))]
        spoiled = text[start:low] + edit_word(text[low:high], rng) + text[high:end]
        near = {
            other
            for wording, owners in _wordings(question)[0].items()
            if OSA.distance(spoiled.casefold(), wording, score_cutoff=1) <= 1
            for other in owners
        }
        if near == {name} and spoiled.casefold() not in _wordings(question)[0]:
            return text[:start] + spoiled + text[end:]
    return None


def edit_word(word: str, rng: Generator) -> str:
    """Return the word after one random edit of a typist; the first letter stays, as it mostly does."""
    k = int(rng.integers(1, len(word)))
    kind = rng.integers(4)
    if kind == 0:
        return word[:k] + _neighbour(word[k], rng) + word[k:]
    if kind == 1:
        return word[:k] + word[k + 1 :]
    if kind == 2 and k + 1 < len(word):
        return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return word[:k] + _neighbour(word[k], rng) + word[k + 1 :]


def change_capitals(question: str, text: str, rng: Generator) -> str | None:
    """Return the text in capitals, with capital words, or with one capital letter, whichever differs."""
    variants = [text.upper(), text.title(), text[:1].upper() + text[1:]]
    kept = [variant for variant in variants if variant != text]
    return str(rng.choice(kept)) if kept else None


def add_stop(question: str, text: str, rng: Generator) -> str | None:
    """Return the text with a full stop at its end."""
    return None if text.endswith(".") else text + "."


SPOILERS: dict[str, Callable[[str, str, Generator], str | None]] = {
    "synonym": replace_synonym,
    "word-order": swap_words,
    "misspelling": misspell_word,
    "capitals": change_capitals,
    "full-stop": add_stop,
}


def find_wordings(question: str, text: str) -> list[tuple[int, int, str]]:
    """Return where the text holds wordings of the question's vocabulary: start, end, canonical name; longest first."""
    folded, taken, found = text.casefold(), [False] * len(text), []
    for wording in sorted(_wordings(question)[0], key=len, reverse=True):
        owners = _wordings(question)[0][wording]
        for match in re.finditer(rf"(?<![\w-]){re.escape(wording)}(?![\w-])", folded):
            if not any(taken[match.start() : match.end()]) and len(owners) == 1:
                taken[match.start() : match.end()] = [True] * len(wording)
                found.append((match.start(), match.end(), owners[0]))
    return found


@cache
def _wordings(question: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return each wording's canonical names, and each name's wordings, both folded; sub-answers' too."""
    asked = load_questionnaire("fetal8").question(question)
    owners: dict[str, tuple[str, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for spec in (asked, *asked.parts):
        for option in spec.options:
            for wording in (option.name, *option.synonyms):
                folded = wording.casefold()
                owners[folded] = tuple(dict.fromkeys((*owners.get(folded, ()), option.name)))
                names[option.name] = tuple(dict.fromkeys((*names.get(option.name, ()), folded)))
    return owners, names


def _neighbour(letter: str, rng: Generator) -> str:
    for row in KEYBOARD:
        place = row.find(letter.casefold())
        if place >= 0:
            near = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            return str(rng.choice(list(near)))
    return letter


def _letter(column: int) -> str:
    """Return a column's letter, A for 0; a sheet here has fewer than 26."""
    return chr(ord("A") + column)
