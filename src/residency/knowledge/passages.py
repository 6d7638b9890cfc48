"""A user's documents in (.txt, .md, .jsonl, PubMedQA-style .json), text passages to search out."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from residency.errors import CheckFailed, UserError
from residency.files import is_there, read_text
from residency.types import Problem, Record, Source

WORDS = 160
"""A passage is closed before it would hold more words; a longer paragraph is cut at sentences, a sentence never."""
READ = (".txt", ".md", ".jsonl", ".json")
_TEXTS = ("text", "passage", "content", "body", "abstract")


class Passage(Record):
    """A piece of a document: its place (`guideline.md 3`) and its words."""

    id: str
    text: str


def read_passages(files: list[Path]) -> list[Passage]:
    """Return the passages of all documents, a folder's included.

    Raises:
        UserError: a file of another kind is named, or one cannot be read.
        CheckFailed: `readable-documents`: JSON that is damaged or tells no text, all of it.
    """
    passages: list[Passage] = []
    problems: list[Problem] = []
    for file in list_documents(files):
        if file.suffix in (".txt", ".md"):
            texts = enumerate(cut_text(read_text(file)), 1)
            passages += [Passage(id=f"{file.name} {number}", text=text) for number, text in texts]
            continue
        for place, value in _values(file, problems):
            source = Source(file=str(file), cell=place)
            if not (text := _tell(value)):
                allowed = f"one of {', '.join(_TEXTS)}; or PubMedQA's QUESTION, CONTEXTS, LONG_ANSWER"
                problems.append(Problem(kind="no-text", message=f"no text in it (allowed: {allowed})", source=source))
                continue
            pieces = cut_text(text)
            passages += [
                Passage(id=f"{file.name} {place}" + (f".{n}" if len(pieces) > 1 else ""), text=piece)
                for n, piece in enumerate(pieces, 1)
            ]
    if problems:
        raise CheckFailed("readable-documents", problems, do="mend these entries, or leave the file out")
    return passages


def list_documents(files: list[Path]) -> list[Path]:
    """Return the documents named, and those that lie in the folders named.

    Raises:
        UserError: one is not there, or is of a kind that is not read.
    """
    if lost := [str(file) for file in files if not is_there(file)]:
        raise UserError("documents that are not there", found=lost, do="name files, or folders of them, that are")
    named = [
        path for file in files for path in (sorted(file.rglob("*")) if file.is_dir() else [file]) if not path.is_dir()
    ]
    inside = {path for path in named if path not in files}
    wrong = [str(path) for path in named if path.suffix not in READ and path not in inside]
    if wrong:
        raise UserError("documents of a kind that is not read", found=wrong, allowed=READ, do="save them as text")
    return [path for path in named if path.suffix in READ]


def cut_text(text: str) -> list[str]:
    """Return a text's paragraphs, short ones joined, so that a passage holds about `WORDS` words; headings lead."""
    passages: list[str] = []
    held: list[str] = []
    for piece in _pieces(text):
        if held and sum(len(part.split()) for part in (*held, piece)) > WORDS:
            passages.append("\n".join(held))
            held = []
        held.append(piece)
    return [*passages, *(["\n".join(held)] if held else [])]


def _pieces(text: str) -> Iterator[str]:
    """Yield paragraphs; of one that is too long, its sentences."""
    for paragraph in re.split(r"\n\s*\n", text):
        whole = " ".join(paragraph.split())
        if len(whole.split()) <= WORDS:
            yield from [whole] if whole else []
        else:
            yield from re.split(r"(?<=[.!?。])\s+", whole)


def _values(file: Path, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
    """Yield each entry of a JSON file with its place: a line, an item, or PubMedQA's id."""
    text = read_text(file)
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                value = _parse(line, Source(file=str(file), cell=f"line {number}"), problems)
                yield from [(f"line {number}", value)] if value is not None else []
        return
    value = _parse(text, Source(file=str(file)), problems)
    if isinstance(value, list):
        yield from ((f"item {number}", item) for number, item in enumerate(value, 1))
    elif isinstance(value, dict):
        yield from value.items() if all(isinstance(item, dict) for item in value.values()) else [("all", value)]


def _parse(text: str, source: Source, problems: list[Problem]) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        problems.append(Problem(kind="no-json", message=str(error), source=source))
        return None


def _tell(value: Any) -> str:
    """Return an entry's text; PubMedQA (Jin 2019, arXiv 1909.06146): its question, abstract and long answer."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return ""
    low = {str(key).casefold(): item for key, item in value.items()}
    if "contexts" in low or "context" in low:
        inner = low.get("contexts", low.get("context"))
        parts = (
            inner.get("contexts", ()) if isinstance(inner, Mapping) else [inner] if isinstance(inner, str) else inner
        )
        told = [low.get("question"), *(parts or ()), low.get("long_answer")]
        return "\n\n".join(str(part).strip() for part in told if part)
    return next((str(low[name]) for name in _TEXTS if low.get(name)), "")
