"""An audit in, one self-contained page out, for a clinician to read and print; pictures are embedded."""

import base64
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from residency.data.audit import Audit
from residency.data.dataset import Dataset
from residency.types import Problem

MAX_TWINS = 12
MAX_ROWS = 200
MAX_ANSWERS = 40
_SIDE = 200
_KINDS = {
    "ambiguous-image": "image name fits several files",
    "ambiguous-number": "number with two readings",
    "bad-file": "file that cannot be read",
    "bad-line": "line that is no sample",
    "bad-spacing": "pixel size that is none",
    "blank": "report with blanks",
    "changed-image": "image changed since it was ingested",
    "conflicting-answers": "two answers by one annotator",
    "conflicting-group": "one image of two groups",
    "contradiction": "answer contradicts itself",
    "crowd": "crowd instead of a box",
    "decompression-bomb": "image with too many pixels",
    "doubtful-note": "note in doubt or contradicted",
    "duplicate-heading": "heading that stands twice",
    "empty-sheet": "empty sheet",
    "error-cell": "cell that shows an error",
    "formula": "formula instead of a value",
    "heading-conflict": "heading whose number and wording differ",
    "invalid-box": "box that is none",
    "invalid-outline": "outline that is none",
    "joined-groups": "groups that share a picture",
    "merged": "merged cells",
    "missing-image": "image not found",
    "no-group": "no patient or other group",
    "no-image": "row without an image",
    "no-number": "number where none is asked",
    "no-section": "report without findings or impression",
    "nothing-marked": "picture in which nothing is marked",
    "number-answer": "answer that is a number, not text",
    "open-elsewhere": "file open in another program",
    "other-size": "annotation of another picture's size",
    "out-of-range": "number out of range",
    "outside-link": "link out of the image folder",
    "published-leak": "published split that leaks",
    "repeated-image": "image annotated twice",
    "repeated-mark": "box or outline that stands twice",
    "repeated-row": "answer that stands twice",
    "sheet-left-out": "sheet without images",
    "stray-annotation": "annotation of no image or label",
    "stray-space": "space at an answer's end",
    "tab-answer": "tabs within an answer",
    "timestamp": "date or time instead of an answer",
    "two-annotators": "answered by two annotators",
    "unknown-category": "category not in the questionnaire",
    "unknown-group": "image whose group is unknown",
    "unknown-question": "question not in the questionnaire",
    "unmapped": "answer not in the vocabulary",
    "unnamed-level": "mask level without a label",
    "unreadable-image": "image that cannot be read",
    "unused-image": "image that no row uses",
}


def render_page(dataset: Dataset, audit: Audit, name: str) -> str:
    """Return the audit as one HTML page."""
    folder = files("residency") / "data" / "templates"
    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["kind"] = lambda kind: _KINDS.get(kind, kind)
    pages.filters["marked"] = _mark_quotes
    questions = [question.id for question in dataset.questionnaire.questions] if dataset.questionnaire else []
    asked = {key for row in audit.coverage.values() for key in row} - {"images"}
    return pages.from_string((folder / "audit.html.j2").read_text(encoding="utf-8")).render(
        css=(folder / "audit.css").read_text(encoding="utf-8"),
        name=name,
        audit=audit,
        columns=[*[id for id in questions if id in asked], *sorted(asked - set(questions))],
        titles=_titles(dataset),
        vocabulary=_vocabulary(audit),
        flags=_by_kind(audit.history.flags),
        pictures=_pictures(dataset, audit),
        max_twins=MAX_TWINS,
        max_rows=MAX_ROWS,
        max_answers=MAX_ANSWERS,
    )


def _vocabulary(audit: Audit) -> list[tuple[str, int, int, list[tuple[str, int, list[tuple[str, int]]]]]]:
    """Return for each question: wordings before, answers after, and each answer with its count and other wordings."""
    rows = []
    for id, answers in sorted(audit.history.wordings.items()):
        before = sum(len(wordings) for wordings in answers.values())
        lines = []
        for answer, wordings in sorted(answers.items(), key=lambda item: -sum(item[1].values())):
            others = sorted(((w, n) for w, n in wordings.items() if w != answer), key=lambda item: -item[1])
            lines.append((answer, sum(wordings.values()), others))
        rows.append((id, before, len(answers), lines))
    return rows


def _titles(dataset: Dataset) -> dict[str, str]:
    """Return what each question asks in few words: its wording up to the colon, if that is short."""
    questions = dataset.questionnaire.questions if dataset.questionnaire else ()
    return {question.id: textwrap.shorten(question.wording.partition(":")[0], 60) for question in questions}


def _mark_quotes(text: str) -> Markup:
    """Return text, escaped, with what stands between backticks set as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _by_kind(problems: Sequence[Problem]) -> Mapping[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds


def _pictures(dataset: Dataset, audit: Audit) -> dict[str, str]:
    """Return small pictures, as data addresses, of the twins and the suggestions that the page shows."""
    shown = [name for twin in audit.twins[:MAX_TWINS] for name in (twin.first, twin.second)]
    shown += [suggestion.image for suggestion in audit.annotate_next]
    pictures = {}
    lost = {problem.source.file for problem in audit.unreadable if problem.source}
    for name in dict.fromkeys(shown):
        if name in lost:
            continue
        with Image.open(dataset.folder / name) as picture:
            picture.thumbnail((_SIDE, _SIDE))
            small = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
            data = io.BytesIO()
            small.save(data, "JPEG", quality=80)
        pictures[name] = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    return pictures
