"""A verbose answer to a closed question in, the one option that it asserts out, or that it is unclear, or nothing.

An option is asserted where its name (or a synonym) is said and not negated in its clause, after NegEx (Chapman 2001,
J Biomed Inform 34:301) with its scope ended by the clause. Nothing is guessed: two asserted options, or words such as
`cannot be determined`, are unclear; a text that names no option is unreadable.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from residency.evaluate.text import split_tokens
from residency.types import AnswerSpec, Option

Words = tuple[str, ...]
YES, NO = frozenset(("yes", "yeah", "yep", "true", "是", "有")), frozenset(("no", "nope", "false", "否", "无"))
_ENDS = r"[.;:!?。；：！？\n]+(?!\d)"
_TURNS = r"\b(?:but|however|although|though|whereas|while|therefore|thus|hence|because|except)\b"
_STARTS = r"[,，](?=\s*(?:and\s+|so\s+)?(?:it|this|that|there|the|these|those|i|we|which)\b)|[,，](?=[^\x00-\x7f])"
_CLAUSE = re.compile(f"{_ENDS}|{_TURNS}|{_STARTS}", re.I)
_FINAL = re.compile(r"\b(?:final answer|answer|conclusion|impression|diagnosis)\s*(?:is|:|=)|答案(?:是|：|:)", re.I)
_ECHO = re.compile(r"[^.!?\n。？！]*[?？]")
_BEFORE = tuple(
    split_tokens(cue)
    for cue in (
        "no", "not", "without", "never", "neither", "nor", "none of", "absence of", "lack of", "negative for",
        "free of", "rule out", "rules out", "ruled out", "excludes", "excluding", "rather than", "instead of", "denies",
        "unlikely", "argues against", "无", "没", "未", "不", "非", "否认", "排除",
    )
)  # fmt: skip
_NO_CUE = tuple(map(split_tokens, ("not only", "no doubt", "no change", "不仅", "不但")))
_AFTER = tuple(
    split_tokens(cue)
    for cue in (
        "absent", "excluded", "unlikely", "ruled out", "not seen", "not present", "not visible", "not shown",
        "not identified", "not the case", "not it", "不存在", "不可能", "不是",
    )
)  # fmt: skip
_UNSURE = tuple(
    split_tokens(cue)
    for cue in (
        "can not be", "can not tell", "can not determine", "can not say", "can not judge", "can not see", "unable to",
        "impossible to", "difficult to", "hard to", "not possible to", "unclear", "uncertain", "not sure", "unsure",
        "indeterminate", "inconclusive", "not enough information", "insufficient information", "do not know", "无法",
        "不能判断", "不能确定", "不清楚", "不确定", "难以",
    )
)  # fmt: skip
_OPPOSITES = {"normal": "abnormal", "present": "absent", "left": "right", "increased": "decreased"}
_OPPOSITE = _OPPOSITES | {other: word for word, other in _OPPOSITES.items()}
_SAYS_NOTHING = (
    "a an the is are was were be been there any this that these of in on at to with for it its and or do does did has "
    "have evidence seen see visible image picture patient show shows shown can you present which what identified noted "
    "findings finding 有 吗 是 否 的 在 中 图 像 这 张 该 见 可"
)
_EMPTY = frozenset(_SAYS_NOTHING.split())


@dataclass(frozen=True)
class Assertion:
    """The option that a text asserts; `unclear`: none, for it asserts several or says that it cannot tell."""

    option: str | None
    unclear: bool = False


@dataclass(frozen=True)
class _Mention:
    option: str
    start: int
    end: int


def read_assertion(spec: AnswerSpec, text: str, asked: str = "") -> Assertion:
    """Return which of a closed question's options a verbose answer asserts; `asked` is the question as put."""
    text = re.sub(r"n['’]t\b", " not", text, flags=re.I)
    text = re.sub(r"\bcannot\b", "can not", text.replace(asked, " ") if asked else text, flags=re.I)
    if final := list(_FINAL.finditer(text)):
        concluded = _read(spec, text[final[-1].end() :], asked)
        if concluded.option:
            return concluded
    return _read(spec, text, asked)


def _read(spec: AnswerSpec, text: str, asked: str) -> Assertion:
    said = _ECHO.sub(" ", text).strip() or text
    polar = _polar_options(spec)
    if polar and (begun := _begins_polar(said, polar)):
        return Assertion(begun)
    asserted: set[str] = set()
    denied: set[str] = set()
    unsure = False
    for clause in _clauses(said):
        mentions = list(find_mentions(spec.options, clause))
        taken = {place for mention in mentions for place in range(mention.start, mention.end)}
        doubtful = any(True for _ in _find_cues(_UNSURE, clause, taken))
        unsure |= doubtful
        for mention in [] if doubtful else mentions:
            negated = is_negated(clause, mention.start, mention.end, taken)
            (denied if negated else asserted).add(mention.option)
    if polar and not (unsure and not asserted):
        return _answer_polar(said, asked, polar)
    if len(asserted) == 1:
        return Assertion(asserted.pop())
    if asserted or unsure:
        return Assertion(None, unclear=True)
    left = [name for name in spec.names if name not in denied]
    return Assertion(left[0] if len(denied) == 1 and len(spec.names) == 2 else None)


def find_mentions(options: Sequence[Option], clause: Words) -> Iterator[_Mention]:
    """Yield where options are said, the longest wording at each place (`non-standard NT` is no `standard NT`)."""
    wordings = _wordings(tuple(options))
    place = 0
    while place < len(clause):
        for words, option in wordings:
            if clause[place : place + len(words)] == words:
                yield _Mention(option, place, place + len(words))
                place += len(words)
                break
        else:
            place += 1


def is_negated(clause: Words, start: int, end: int, taken: set[int] | frozenset[int] = frozenset()) -> bool:
    """Tell whether the words at [start, end) of a clause are negated before or after; `taken` words are no cues."""
    spared = {place for at, cue in _find_cues(_NO_CUE, clause, taken) for place in range(at, at + len(cue))}
    blocked = set(taken) | spared
    before = sum(at < start for at, _ in _find_cues(_BEFORE, clause, blocked))
    after = any(end <= at <= end + 3 for at, _ in _find_cues(_AFTER, clause, blocked))
    return before % 2 == 1 or (before == 0 and after)


def count_negations(words: Words) -> int:
    """Return how many cues of negation stand among the words of one claim."""
    spared = {place for at, cue in _find_cues(_NO_CUE, words, set()) for place in range(at, at + len(cue))}
    return sum(1 for _ in _find_cues((*_BEFORE, *_AFTER), words, spared))


def _clauses(text: str) -> Iterator[Words]:
    for part in _CLAUSE.split(text):
        if words := split_tokens(part):
            yield words


def _find_cues(cues: Sequence[Words], clause: Words, taken: set[int] | frozenset[int]) -> Iterator[tuple[int, Words]]:
    place = 0
    while place < len(clause):
        found = [cue for cue in cues if clause[place : place + len(cue)] == cue and place not in taken]
        if found:
            cue = max(found, key=len)
            yield place, cue
            place += len(cue)
        else:
            place += 1


@lru_cache(maxsize=512)
def _wordings(options: tuple[Option, ...]) -> tuple[tuple[Words, str], ...]:
    found = {split_tokens(wording): option.name for option in options for wording in (option.name, *option.synonyms)}
    return tuple(sorted(((words, name) for words, name in found.items() if words), key=lambda pair: -len(pair[0])))


def _polar_options(spec: AnswerSpec) -> dict[bool, str] | None:
    """Return the yes and the no of a yes/no question, else None."""
    yes = [name for name in spec.names if name.casefold() in YES]
    no = [name for name in spec.names if name.casefold() in NO]
    return {True: yes[0], False: no[0]} if len(spec.names) == 2 and yes and no else None


def _begins_polar(text: str, polar: dict[bool, str]) -> str | None:
    """Return the answer where a text begins with `yes` or `no` as a word of its own (not `no effusion`)."""
    begun = re.match(r"\W*(\w+?)\s*(?:[,.;:!，。；：！—–-]|$)", text)
    word = begun[1].casefold() if begun else ""
    return polar[True] if word in YES else polar[False] if word in NO else None


def _answer_polar(text: str, asked: str, polar: dict[bool, str]) -> Assertion:
    """Answer yes or no where one clause says, or denies, all that the question names."""
    wanted = [word for word in split_tokens(asked) if word not in _EMPTY]
    votes = set()
    for clause in _clauses(text):
        flips = [w for w in wanted if w not in clause and _OPPOSITE.get(w) in clause]
        if wanted and all(w in clause or w in flips for w in wanted):
            place = max(clause.index(w if w in clause else _OPPOSITE[w]) for w in wanted)
            votes.add(is_negated(clause, place, place + 1) != (len(flips) % 2 == 1))
    return Assertion(polar[not votes.pop()]) if len(votes) == 1 else Assertion(None, unclear=len(votes) > 1)
