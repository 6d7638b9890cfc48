"""Numbers, units and gestational ages as people write them in, values in one unit out; what is unclear stays unread.

Weeks are completed weeks: 12w4d is 88 days.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from rapidfuzz.distance import OSA

# Units by what they measure; the value is the factor to the first one named.
UNITS: tuple[dict[str, float], ...] = (
    {"mm": 1, "millimeter": 1, "millimetre": 1, "cm": 10, "centimeter": 10, "centimetre": 10, "m": 1000, "um": 0.001,
     "µm": 0.001, "μm": 0.001},
    {"weeks": 1, "week": 1, "wks": 1, "wk": 1, "w": 1, "days": 1 / 7, "day": 1 / 7, "d": 1 / 7},
    {"degrees": 1, "degree": 1, "deg": 1, "°": 1},
    {"percent": 1, "%": 1},
    {"g": 1, "gram": 1, "kg": 1000},
)  # fmt: skip
_NUMBER = r"[+-]?\d[\d.,' ]*(?:e[+-]?\d+)?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*([^\d\s.,]*)\.?", re.I)
_WEEK, _DAY = r"(?:w(?:ee)?k?s?\.?)", r"(?:d(?:ays?)?\.?)"
_AGES = (
    re.compile(rf"(\d+)\s*{_WEEK}?\s*(?:\+|and|&|,)?\s*(\d+)\s*(?:{_DAY}|/\s*7)\s*(?:{_WEEK})?", re.I),
    re.compile(rf"(\d+)\s*{_WEEK}?\s*\+\s*(\d+)\s*{_WEEK}?", re.I),
)
_WEEKS_ONLY = re.compile(rf"(\d+(?:[.,]\d+)?)\s*(?:completed\s*)?{_WEEK}?", re.I)
_DAYS_ONLY = re.compile(rf"(\d+)\s*{_DAY}", re.I)
_RANGE = re.compile(rf"(\d+)\s*{_WEEK}?\s*(?:-|to|until|bis)\s*(\d+)\s*{_WEEK}?", re.I)
_PLAIN = str.maketrans("‐‑‒–—−’", "------'")
_UNIT_WORDS = ("weeks", "days")
_TIMESTAMP = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?Z?"
    r"|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}(?: \d{1,2}:\d{2}(?::\d{2})?)?|\d{1,2}:\d{2}(?::\d{2})?"
)


def plain_text(text: str) -> str:
    """Return text with one kind of dash, quote and width, one space, no space around it."""
    return " ".join(normalize("NFKC", text).translate(_PLAIN).split())


def is_timestamp(text: str) -> bool:
    """Say whether text is a date or a time and nothing else (Excel turns `8-13` into one)."""
    return _TIMESTAMP.fullmatch(text.strip()) is not None


def unit_factor(found: str, wanted: str) -> float | None:
    """Return what a number in the unit `found` is multiplied by to be in `wanted`; None where they do not compare."""
    found, wanted = found.casefold().rstrip("."), wanted.casefold()
    if found == wanted:
        return 1.0
    for family in UNITS:
        names = {**family, **{f"{name}s": factor for name, factor in family.items() if len(name) > 2}}
        if found in names and wanted in names:
            return names[found] / names[wanted]
    return None


def read_numbers(text: str) -> tuple[float, ...]:
    """Return what a written number can mean: nothing, one value, or two (`1,234` is 1.234 or 1234)."""
    text = re.sub(r"(?<=\d)[' ](?=\d{3}(?:\D|$))", "", text.strip())
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+\.\d+", text) or re.fullmatch(r"[+-]?\d{1,3}(,\d{3}){2,}", text):
        return (float(text.replace(",", "")),)
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+,\d+", text) or re.fullmatch(r"[+-]?\d{1,3}(\.\d{3}){2,}", text):
        return (float(text.replace(".", "").replace(",", ".")),)
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        return (float(text.replace(",", ".")), float(text.replace(",", "")))
    if re.fullmatch(r"[+-]?\d+(?:[.,]\d*)?(?:e[+-]?\d+)?", text, re.I):
        return (float(text.replace(",", ".")),)
    return ()


def read_quantity(text: str, unit: str, default: str | None = None) -> tuple[float, ...]:
    """Return the values, in `unit`, that text such as `3,24 cm` can have; a bare number is in `default` or `unit`.

    Nothing where it is no number, or its unit does not compare with `unit`.
    """
    found = _QUANTITY.fullmatch(plain_text(text))
    if not found:
        return ()
    factor = unit_factor(found[2] or default or unit, unit)
    if factor is None:
        return ()
    return tuple(float(f"{number * factor:.10g}") for number in read_numbers(found[1]))


def read_age(text: str) -> float | None:
    """Return a gestational age in days from 12w+4d, 12+4, 12 weeks 4 days, 12 4/7, 88 days, 12.5 or 12; else None."""
    text = re.sub(r"^(?:ga|gestational age)\s*[:=]?\s*", "", plain_text(text), flags=re.I).strip(" .")
    for pattern in _AGES:
        if found := pattern.fullmatch(text):
            weeks, days = int(found[1]), int(found[2])
            return weeks * 7 + days if days < 7 else None
    if found := _DAYS_ONLY.fullmatch(text):
        return int(found[1])
    if found := _WEEKS_ONLY.fullmatch(text):
        return round(float(found[1].replace(",", ".")) * 7, 4)
    return None


def mend_units(text: str) -> str:
    """Return text with misspelled words for weeks and days put right (`20 to 25 weks`)."""

    def mend(found: re.Match[str]) -> str:
        near = [unit for unit in _UNIT_WORDS if OSA.distance(found[0].casefold(), unit) == 1]
        return near[0] if len(near) == 1 and found[0].casefold() not in _UNIT_WORDS else found[0]

    return re.sub(r"[^\W\d_]{4,}", mend, text)


def read_range(text: str) -> tuple[int, int] | None:
    """Return the bounds of text such as `20 to 25 wks`; None where it is no range."""
    found = _RANGE.fullmatch(plain_text(text).strip(" ."))
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Band:
    """An ordinal's option that stands for numbers: `low` <= value < `high`; `named` are the bounds as written."""

    name: str
    named: tuple[int, int | None]
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Say whether the number falls into the band."""
        return self.low <= value < self.high


def read_bands(names: Sequence[str]) -> tuple[Band, ...]:
    """Return what number each option stands for, or () unless all options are ranges or numbers, rising.

    A range ends where the next begins (15-20 before 20-25 is 15 to 19.99), else after its last whole number
    (8-13 before 14 is 8 to 13.99), so that completed weeks never overlap.
    """
    bounds: list[tuple[int, int | None]] = []
    for name in names:
        numbers = [int(number) for number in re.findall(r"\d+", name)]
        if len(numbers) == 1:
            bounds.append((numbers[0], None if re.search(r"more|above|over|\+|>|≥", name) else numbers[0]))
        elif len(numbers) == 2:
            bounds.append((numbers[0], numbers[1]))
        else:
            return ()
    bands = []
    for index, (name, (low, high)) in enumerate(zip(names, bounds, strict=True)):
        after = bounds[index + 1][0] if index + 1 < len(bounds) else None
        end = float("inf") if high is None else float(high if after == high else high + 1)
        if (after is not None and end > after) or end <= low:
            return ()
        bands.append(Band(name, (low, high), float(low), end))
    return tuple(bands)
