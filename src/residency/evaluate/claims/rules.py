"""The rule-based judge: claims of a sheet or of templated text in, entailed, contradicted or neutral out.

A claim with a slot is compared with the reference's answers in that slot: names, members of sets, numbers within 5%.
A claim in words becomes a fact: what it is about, whether it is denied, normal or not, on which side, how large. A
fact is entailed by one that says at least as much, contradicted by one about the same that differs in denial,
normality, side or number, else neutral: what a sparse reference leaves out contradicts nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from residency.evaluate.assertion import count_negations
from residency.evaluate.claims.atoms import split_claims
from residency.evaluate.claims.claim import NOTHING, Claim, Label
from residency.evaluate.text import split_tokens
from residency.types import Quantity

TOLERANCE = 0.05
_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "%": 1.0, "weeks": 1.0, "week": 1.0, "bpm": 1.0, "ml": 1.0}
_SIDES = {
    "left": {"left"}, "right": {"right"}, "bilateral": {"left", "right"}, "bilaterally": {"left", "right"},
    "both": {"left", "right"}, "leftward": {"left"}, "rightward": {"right"}, "左": {"left"}, "右": {"right"},
    "双": {"left", "right"},
}  # fmt: skip
_OPPOSED = [
    {"upper", "lower"}, {"superior", "inferior"}, {"anterior", "posterior"}, {"medial", "lateral"},
    {"increased", "decreased"}, {"high", "low"}, {"open", "closed"}, {"mild", "severe"}, {"small", "large"},
    {"thick", "thin"}, {"early", "late"}, {"acute", "chronic"}, {"cephalic", "breech"}, {"top", "bottom"},
    {"benign", "malignant"}, {"solid", "cystic"}, {"hyperechoic", "hypoechoic"},
]  # fmt: skip
_NORMAL = frozenset(
    ("normal", "normally", "unremarkable", "clear", "intact", "regular", "healthy", "preserved", "patent", "正常")
)
_ABNORMAL = frozenset(
    ("abnormal", "abnormality", "abnormally", "enlarged", "dilated", "thickened", "irregular", "distended", "displaced",
     "deviated", "disrupted", "blunted", "obscured", "collapsed", "narrowed", "widened", "elevated", "impaired",
     "thickening", "dilatation", "dilation", "enlargement", "irregularity", "异常", "cardiomegaly")
)  # fmt: skip
_BARE = frozenset(("abnormal", "abnormality", "abnormally", "异常"))
_HEDGED = frozenset(
    ("possible", "possibly", "probable", "probably", "may", "might", "suspected", "suspicious", "questionable",
     "likely", "perhaps", "equivocal", "exclude", "疑", "可能")
)  # fmt: skip
_EMPTY = frozenset(
    ("a", "an", "the", "is", "are", "was", "were", "be", "been", "there", "of", "in", "on", "at", "to", "with", "for",
     "and", "or", "it", "its", "this", "that", "these", "those", "seen", "visible", "present", "identified", "noted",
     "found", "shown", "shows", "show", "demonstrates", "demonstrated", "visualized", "visualised", "detected",
     "appears", "appear", "looks", "look", "seems", "do", "does", "did", "evidence", "sign", "signs", "image",
     "picture", "scan", "view",
     "can", "has", "have", "any", "size", "shape", "appearance", "measures", "measure", "measuring", "lies", "points",
     "within", "limits", "side", "sided", "which", "as", "by", "very", "quite", "some", "fully", "suggestion",
     "no", "not", "without", "absent", "absence", "lack", "negative", "free", "never", "neither", "nor", "none",
     "excluded", "unlikely", "lacking", "missing", "见", "有", "为", "无", "未", "没", "不", "非", "的", "侧")
)  # fmt: skip
_ALIKE = {
    "cardiac": "heart", "pulmonary": "lung", "hepatic": "liver", "renal": "kidney", "gastric": "stomach",
    "splenic": "spleen", "osseous": "bone", "bony": "bone", "skeletal": "bone", "fetus": "fetal", "baby": "fetal",
    "cerebral": "brain", "spinal": "spine", "oedema": "edema", "liquor": "fluid",
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """What one claim in words says. `normal` is None where it says nothing about normality."""

    about: frozenset[str]
    denied: bool
    normal: bool | None
    marked: frozenset[str]
    sides: frozenset[str]
    numbers: tuple[tuple[float, str], ...]
    hedged: bool


def judge_by_rules(reference: Sequence[Claim], asked: Sequence[Claim]) -> list[Label | None]:
    """Return a label for each asked claim; rules never fail."""
    return [
        _judge_slot(reference, claim) if claim.value is not None else _judge_words(reference, claim) for claim in asked
    ]


def _judge_slot(reference: Sequence[Claim], claim: Claim) -> Label:
    same = [other.value for other in reference if other.slot == claim.slot and other.value is not None]
    if not same:
        return "neutral"
    if claim.value in same:
        return "entailed"
    if isinstance(claim.value, Quantity):
        numbers = [other for other in same if isinstance(other, Quantity) and other.unit == claim.value.unit]
        close = any(abs(other.value - claim.value.value) <= TOLERANCE * abs(other.value) for other in numbers)
        return "entailed" if close else "contradicted" if numbers else "neutral"
    if claim.kind == "set":
        return "contradicted" if NOTHING in (claim.value, *same) else "neutral"
    return "contradicted"


def _judge_words(reference: Sequence[Claim], claim: Claim) -> Label:
    atoms = [atom for other in reference for atom in split_claims(other.text)]
    if any(split_tokens(atom) == split_tokens(claim.text) for atom in atoms):
        return "entailed"
    fact = read_fact(claim.text)
    if fact.hedged or not fact.about:
        return "neutral"
    known = [read_fact(atom) for atom in atoms]
    if any(entails(other, fact) for other in known):
        return "entailed"
    return "contradicted" if any(contradicts(other, fact) for other in known) else "neutral"


@lru_cache(maxsize=65536)
def read_fact(text: str) -> Fact:
    """Return what a claim in words says."""
    words = split_tokens(re.sub(r"n['’]t\b", " not", re.sub(r"\bcannot\b", "can not", text, flags=re.I)))
    denied = count_negations(words) % 2 == 1
    marked = {word for word in words if word in _ABNORMAL}
    normal = True if any(word in _NORMAL for word in words) else False if marked else None
    if normal is not None and denied:
        normal, denied = not normal, False
    sides = frozenset(side for word in words for side in _SIDES.get(word, ()))
    about = {
        _ALIKE.get(stem, stem)
        for word in words
        if word not in _EMPTY and word not in _SIDES and word not in _NORMAL | _ABNORMAL and not _is_number(word)
        and word not in _UNITS
        for stem in (_stem(word),)
    }  # fmt: skip
    return Fact(
        frozenset(about), denied, normal, frozenset(marked - _BARE), sides, _numbers(text),
        any(word in _HEDGED for word in words),
    )  # fmt: skip


def entails(known: Fact, claim: Fact) -> bool:
    """Tell whether a known fact says at least what the claim says."""
    if known.hedged or known.denied != claim.denied or not known.about:
        return False
    if known.denied:  # no effusion: no large effusion either
        return known.about <= claim.about and known.sides <= claim.sides
    if claim.normal is not None and claim.normal != known.normal:
        return False
    specific = claim.normal is True and not claim.marked and bool(known.marked)  # not dilated is less than normal
    unmarked = claim.normal is False and not claim.marked <= known.marked
    sized = all(any(_close(one, other) for other in known.numbers) for one in claim.numbers)
    return claim.about <= known.about and claim.sides <= known.sides and sized and not specific and not unmarked


def contradicts(known: Fact, claim: Fact) -> bool:
    """Tell whether a known fact and the claim cannot both hold."""
    if known.hedged or not known.about or not (known.about <= claim.about or claim.about <= known.about):
        return _is_opposed(known, claim)
    if known.denied != claim.denied:
        denied, said = (known, claim) if known.denied else (claim, known)
        return denied.about <= said.about and (not denied.sides or bool(denied.sides & said.sides) or not said.sides)
    if known.denied:
        return False
    if known.normal is not None and claim.normal is not None and known.normal != claim.normal:
        alike = not known.marked or not claim.marked or bool(known.marked & claim.marked)
        return alike and (not known.sides or not claim.sides or bool(known.sides & claim.sides))
    if known.sides and claim.sides and not known.sides & claim.sides:
        return known.normal is None and claim.normal is None  # one kidney says nothing about the other
    return bool(known.numbers and claim.numbers) and not any(
        _close(one, other) for one in claim.numbers for other in known.numbers
    )


def _is_opposed(known: Fact, claim: Fact) -> bool:
    """Tell whether two facts differ in one word alone, by its opposite (upper, lower)."""
    apart = known.about ^ claim.about
    return known.denied == claim.denied is False and set(apart) in _OPPOSED and len(known.about & claim.about) > 0


def _numbers(text: str) -> tuple[tuple[float, str], ...]:
    found = re.findall(r"(\d+(?:[.,]\d+)?)\s*(mm|cm|m|%|weeks?|bpm|ml)?\b", text.casefold())
    return tuple(
        (
            float(number.replace(",", ".")) * _UNITS.get(unit, 1.0),
            "mm" if unit in ("mm", "cm", "m") else unit.rstrip("s"),
        )
        for number, unit in found
    )


def _close(one: tuple[float, str], other: tuple[float, str]) -> bool:
    return one[1] == other[1] and abs(one[0] - other[0]) <= TOLERANCE * abs(other[0])


def _is_number(word: str) -> bool:
    return word[0].isdigit()


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
