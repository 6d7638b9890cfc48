"""A sheet without a questionnaire in, a proposed one out, for the user to edit before anything is ingested."""

import re
from collections import Counter
from collections.abc import Sequence

from residency.data.columns import Role, match_columns
from residency.data.quantity import plain_text, read_quantity, read_range
from residency.data.sheet import Table, cell_text
from residency.data.wording import Lexicon, split_words
from residency.errors import UserError
from residency.questionnaire import dump_questionnaire
from residency.types import AnswerType, Option, Question, Questionnaire

# Words of grades, lowest first; a column that uses only one row's words is ordinal.
GRADES = (
    ("none", "mild", "moderate", "severe"),
    ("absent", "minimal", "mild", "moderate", "marked", "severe"),
    ("very poor", "poor", "low", "fair", "medium", "moderate", "adequate", "good", "high", "excellent"),
    ("small", "medium", "large"),
    ("never", "rarely", "sometimes", "often", "always"),
)
_MAX_OPTIONS = 60
_NUMBERED = re.compile(r"\s*q(?:uestion)?\s*\.?\s*(\d+)\s*[:.\-)\s]\s*(.*)", re.I | re.S)
_UNIT = re.compile(r"[(\[]\s*([^()\[\]]{1,12}?)\s*[)\]]\s*$")
_HEAD = """\
# A draft, made from the sheet's headings and answers. Edit it, then:
#   residency ingest ... --questionnaire THIS_FILE
# type: choice (one of the options), set (several), ordinal (one, options in rising order), number (with unit), text.
# An option may carry synonyms:  - {name: femur length, synonyms: [FL]}
# Delete questions that are none; their columns are kept beside the samples.
"""
_ANY = Questionnaire(name="draft", questions=(Question(id="-", type="text", wording="-"),))


def draft_questionnaire(tables: Sequence[Table]) -> str:
    """Return a proposed questionnaire as YAML with a heading that says how to edit it.

    Raises:
        UserError: no column looks like a question.
    """
    answers: dict[str, Counter[str]] = {}
    for table in tables:
        columns, _ = match_columns(table, _ANY)
        kept: Role = "kept"
        for column in columns:
            if column.role == kept:
                heading = " ".join(column.heading.split())
                texts = (plain_text(cell_text(cells.get(column.number))) for _, cells in table.rows)
                answers.setdefault(heading, Counter()).update(text for text in texts if text)
    questions: dict[str, Question] = {}
    for heading, counts in answers.items():
        if counts:
            question = draft_question(heading, counts)
            id, number = question.id, 2
            while question.id in questions:
                question = question.model_copy(update={"id": f"{id}-{number}"})
                number += 1
            questions[question.id] = question
    if not questions:
        raise UserError("no column of the sheet looks like a question", do="head each question's column with its words")
    return _HEAD + dump_questionnaire(Questionnaire(name="draft", questions=tuple(questions.values())))


def draft_question(heading: str, counts: Counter[str]) -> Question:
    """Return a question with the type that most of the answers speak for."""
    numbered = _NUMBERED.match(heading)
    wording = (numbered[2] if numbered else heading).strip() or heading
    short = wording.partition(":")[0]
    id = f"q{numbered[1]}" if numbered else "-".join(split_words(_UNIT.sub("", short)))[:40] or "question"
    kind, options, unit = guess_type(heading, counts)
    return Question(
        id=id,
        type=kind,
        wording=wording,
        headings=(short,) if short != wording else (),
        options=tuple(Option(name=name) for name in options),
        unit=unit,
    )


def guess_type(heading: str, counts: Counter[str]) -> tuple[AnswerType, list[str], str | None]:
    """Return the answer type, its options and its unit, from a column's answers and how often each stands."""
    total = counts.total()
    unit = _unit(heading, counts)
    distinct = _distinct(counts)
    numbers = sum(count for text, count in counts.items() if read_quantity(text, unit or "", unit or ""))
    if numbers >= 0.9 * total and len(distinct) > 8:
        return "number", [], unit or ""
    ranges = {name: bounds for name in distinct if (bounds := read_range(name))}
    if len(ranges) >= max(2, 0.8 * len(distinct)):
        return "ordinal", sorted(ranges, key=ranges.__getitem__), None
    if (grades := _grades(distinct)) is not None:
        return "ordinal", grades, None
    pieces = _distinct(_pieces(counts))
    parted = sum(count for text, count in counts.items() if re.search(r"[,;]\s", text))
    if parted >= 0.3 * total and 2 <= len(pieces) <= min(2 * _MAX_OPTIONS, 0.7 * len(counts) + 20):
        return "set", pieces, None
    if 2 <= len(distinct) <= min(_MAX_OPTIONS, max(12, 0.2 * total)) and len(distinct) < max(3, 0.8 * total):
        return "choice", distinct, None
    return "text", [], None


def _distinct(counts: Counter[str]) -> list[str]:
    """Return the different answers, most frequent first, without those that are only spelled otherwise."""
    lexicon, names = Lexicon(()), list[str]()
    for text, _ in counts.most_common():
        if len(names) > 2 * _MAX_OPTIONS + 1:
            break
        if split_words(text) and not lexicon.find(text):
            names.append(text.rstrip(" ."))
            lexicon = Lexicon(Option(name=name) for name in names)
    return names


def _pieces(counts: Counter[str]) -> Counter[str]:
    pieces: Counter[str] = Counter()
    for text, count in counts.items():
        for piece in re.split(r"\s*[,;]\s+", text):
            pieces[piece.strip(" .")] += count
    return pieces


def _grades(names: Sequence[str]) -> list[str] | None:
    """Return names in rising order if each begins with a grade of one family."""
    for family in GRADES:
        rank = {}
        for name in names:
            words = " ".join(split_words(name))
            found = [place for place, grade in enumerate(family) if words == grade or words.startswith(grade + " ")]
            if found:
                rank[name] = found[-1]
        if len(rank) == len(names) >= 2 and len(set(rank.values())) == len(names):
            return sorted(names, key=rank.__getitem__)
    return None


def _unit(heading: str, counts: Counter[str]) -> str | None:
    if found := _UNIT.search(heading):
        return found[1]
    units = Counter[str]()
    for text, count in counts.items():
        if found := re.fullmatch(r"[\d.,]+\s*([^\d\s.,]{1,8})", text):
            units[found[1]] += count
    return units.most_common(1)[0][0] if units else None
