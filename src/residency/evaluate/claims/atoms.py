"""Free text in, atomic self-contained claims out: one statement each, a shared negation given to every member.

`No effusion, consolidation or pneumothorax.` holds three claims, each with its own `no`.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

_SENTENCE = re.compile(r"(?<!\d)[.;!?]+(?=\s|$)|(?<=\d)\.(?=\s|$)|[。；！？\n]+")
_CLAUSE = re.compile(
    r",?\s+\b(?:but|while|whereas|however|although)\b,?\s+"
    r"|,\s+(?:and\s+)?(?=(?:the|there|it|this|no|without)\b)|\s+and\s+(?=(?:there|no)\b)|[，]",
    re.I,
)
_NEGATED = re.compile(
    r"^(?P<head>(?:there (?:is|are|was|were) )?(?:no|without|neither)(?: (?:evidence|sign|signs|suggestion) of)?) "
    r"(?P<items>.+?)(?P<tail> (?:is|are|was|were|can be|could be) (?:seen|identified|present|noted|visible|found"
    r"|detected|visuali[sz]ed|demonstrated|shown))?$",
    re.I,
)
_DENIED = re.compile(r"^(?P<head>未见|没有|无)(?P<items>.+)$")
_WITHOUT = re.compile(r"^(?P<rest>.+?),? (?:without|with no) (?P<items>.+)$", re.I)
_STATED = re.compile(
    r"^(?P<subject>.+?) (?P<verb>(?:is|are|was|were|appears?|looks?|seems?)(?: not| n't)?) (?P<state>.+)$", re.I
)
_AGAIN = re.compile(r",?\s+and\s+(?P<verb>(?:is|are|was|were)(?: not)?)\s+", re.I)
_ITEMS = re.compile(r",\s*(?:and|or|nor)\s+|,\s+|\s+(?:and|or|nor)\s+", re.I)
_LISTED = re.compile(r"[、]|以及|及|和|或")
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|shows?|measures?|lies?)\b", re.I)
_LONGEST_ITEM = 6


@lru_cache(maxsize=65536)
def split_claims(text: str) -> tuple[str, ...]:
    """Return the atomic claims of a text, in order; equal ones once."""
    found = [claim for part in _SENTENCE.split(text) for clause in _clauses(part) for claim in _atoms(clause)]
    return tuple(dict.fromkeys(claim for claim in found if any(letter.isalnum() for letter in claim)))


def _clauses(sentence: str) -> Iterator[str]:
    for clause in _CLAUSE.split(sentence):
        if clause := clause.strip(" ,，:："):
            yield clause


def _atoms(clause: str) -> Iterator[str]:
    if denied := _DENIED.match(clause):
        yield from (f"{denied['head']}{item.strip()}" for item in _LISTED.split(denied["items"]) if item.strip())
    elif negated := _NEGATED.match(clause):
        items = _ITEMS.split(negated["items"])
        yield from (f"no {item}" for item in items if item.strip()) if _are_items(items) else [clause]
    elif without := _WITHOUT.match(clause):
        yield from _atoms(without["rest"])
        yield from _atoms(f"no {without['items']}")
    elif stated := _STATED.match(clause):
        if again := _AGAIN.search(stated["state"]):  # X is A and is not B
            yield from _atoms(f"{stated['subject']} {stated['verb']} {stated['state'][: again.start()]}")
            yield from _atoms(f"{stated['subject']} {again['verb']} {stated['state'][again.end() :]}")
            return
        subjects, states = _ITEMS.split(stated["subject"]), _ITEMS.split(stated["state"])
        subjects = subjects if _are_items(subjects) else [stated["subject"]]
        states = states if _are_items(states) and not re.search(r"\bor\b", stated["state"], re.I) else [stated["state"]]
        yield from (f"{subject} {stated['verb']} {state}" for subject in subjects for state in states)
    else:
        items = _ITEMS.split(clause)
        yield from items if _are_items(items) and not _VERB.search(clause) else [clause]


def _are_items(items: list[str]) -> bool:
    """Tell whether pieces are members of a list rather than clauses of their own."""
    return all(item.strip() and len(item.split()) <= _LONGEST_ITEM and not _VERB.search(item) for item in items)
