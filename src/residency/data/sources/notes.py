"""Clinical notes in a table's text column in, a questionnaire's answers as far as rules find them out.

MIMIC-III's layout (`SUBJECT_ID`, `TEXT` ...; Johnson et al. 2016) with a column that names each note's image. What a
note does not mention stays unanswered; what it mentions in doubt, or in two ways, is flagged and stays unanswered.
Negation by trigger words before a mention in its clause (NegEx: Chapman et al. 2001).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from residency.data.columns import by_role, match_columns
from residency.data.lines import Line, Place, Reading
from residency.data.quantity import plain_text
from residency.data.sheet import BOOKS, TEXTS, cell_text, read_sheet
from residency.data.wording import split_words
from residency.errors import UserError
from residency.types import Option, Problem, Question

HOLDS = "clinical notes: a table of image and TEXT (MIMIC-III), with --questionnaire saying what to look for"
_COLUMNS = ("text", "note", "notes", "note text", "clinical notes", "clinical note")
_CLAUSE = re.compile(r"(?<!\d)[.,;:\n]|[.;:\n](?!\d)|\b(?:but|however|although|except)\b", re.I)
_NEGATIONS = ("no", "not", "without", "denies", "denied", "negative for", "free of", "absence of", "no evidence of",
              "ruled out", "resolved")  # fmt: skip
_DOUBTS = ("possible", "possibly", "probable", "probably", "likely", "suspected", "may", "might", "cannot exclude",
           "question of", "concern for", "rule out", "r o", "versus", "vs")  # fmt: skip
_YES, _NO = ("yes", "present"), ("no", "absent")
_NUMBER = r"\s*(?:is|of|was|measures|measuring|=|:)?\s*(\d+(?:[.,]\d+)?\s*[a-zµ%°]+)"


def find(sheet: Path | None, images: Path) -> Place | None:
    """Return None: any table with a text column may hold notes, so that they are read by name alone."""
    return None


def find_named(sheet: Path | None, images: Path) -> Place | None:
    """Return where the table lies that is named."""
    return Place((sheet,), images) if sheet and sheet.suffix.lower() in (*BOOKS, *TEXTS) else None


def read(place: Place) -> Reading:
    """Read every note; one that answers nothing leaves its image without an answer.

    Raises:
        UserError: no questionnaire is named, or the table lacks a column of images or of notes.
    """
    if place.questionnaire is None:
        raise UserError("notes answer no question by themselves", do="say what to look for: --questionnaire FILE.yaml")
    table = read_sheet(place.files[0])[0][0]
    columns, problems = match_columns(table, place.questionnaire)
    roles = by_role(columns)
    notes = next((column for column in columns if " ".join(split_words(column.heading)) in _COLUMNS), None)
    if notes is None or "image" not in roles:
        lost = [name for name, column in (("TEXT", notes), ("image", roles.get("image"))) if column is None]
        headings = [column.heading for column in columns]
        raise UserError(f"{table.source()} has no column {' and no column '.join(lost)}", found=headings)
    reading = Reading(
        problems=problems, questionnaire=place.questionnaire, taken=(f"`{notes.heading}` -> answers by rule",)
    )
    for number, cells in table.rows:
        source = table.source(number, notes.number)
        text = cell_text(cells.get(notes.number))
        kept = {c.heading: cell_text(cells.get(c.number)) for c in columns if c is not notes}
        kept |= {role: kept[column.heading] for role, column in roles.items()}
        found = False
        for question in place.questionnaire.questions:
            answer, evidence, doubt = read_note(question, text)
            if doubt:
                message = f"{question.id}: `{evidence}` {doubt}: left unanswered"
                reading.flags.append(Problem(kind="doubtful-note", message=message, source=source))
            if answer is not None:
                found = True
                values = {**kept, "prefix": question.wording, "suffix": answer, "evidence": evidence}
                reading.lines.append(Line(source, values, None, question.id))
        if not found:
            first = place.questionnaire.questions[0]
            reading.lines.append(Line(source, {**kept, "prefix": first.wording, "suffix": None}, None, first.id))
    return reading


def read_note(question: Question, text: str) -> tuple[str | None, str, str | None]:
    """Return what a note answers, the clause that says so, and why a mention is no answer (None: it is, or none is)."""
    if question.type == "number":
        return _read_number(question, text)
    if not question.options:
        return None, "", None
    names = {option.name.casefold() for option in question.options}
    yes, no = ({name for name in group if name in names} for group in (_YES, _NO))
    if yes and no and len(names) == 2:
        terms = [Option(name=next(iter(yes)), synonyms=question.headings)]
    else:
        terms, yes, no = list(question.options), set(), set()
    asserted: list[str] = []
    denied: list[str] = []
    evidence = ""
    for name, clause, how in _mentions(terms, text):
        if how == "doubt":
            return None, clause, "is said in doubt"
        (asserted if how == "said" else denied).append(name)
        evidence = evidence or clause
    asserted = list(dict.fromkeys(asserted))
    if set(asserted) & set(denied) or (question.type != "set" and len(asserted) > 1):
        return None, evidence, "is contradicted by another clause"
    if yes and denied:
        return next(iter(no)), evidence, None
    if question.type == "set":
        return (", ".join(asserted) or ("none" if denied else None)), evidence, None
    return (asserted[0] if asserted else None), evidence, None


def _mentions(terms: Sequence[Option], text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each term that a clause mentions, the clause, and how: said, denied or in doubt."""
    for clause in filter(str.strip, _CLAUSE.split(text)):
        words = f" {' '.join(split_words(clause))} "
        for option in terms:
            for wording in (option.name, *option.synonyms):
                term = f" {' '.join(split_words(wording))} "
                place = words.find(term)
                if place >= 0:
                    before = words[: place + 1]
                    doubt = any(f" {word} " in before for word in _DOUBTS)
                    denied = any(f" {word} " in before for word in _NEGATIONS)
                    yield option.name, plain_text(clause), "doubt" if doubt else "denied" if denied else "said"
                    break


def _read_number(question: Question, text: str) -> tuple[str | None, str, str | None]:
    """Return the number that follows the question's short heading; two different ones are no answer."""
    found = {}
    for heading in question.headings:
        for hit in re.finditer(rf"\b{re.escape(heading)}\b{_NUMBER}", text, re.I):
            found[plain_text(hit[1])] = plain_text(hit[0])
    if len(found) > 1:
        return None, " / ".join(found.values()), "is told twice"
    return next(((number, evidence, None) for number, evidence in found.items()), (None, "", None))
