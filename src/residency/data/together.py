"""All questions about an image asked at once: samples in, one prompt and one answer by image out; and its parts back.

The answer is a line a question, `ID: TEXT`, in the questions' natural order:

    q1: femur length 32 mm
    q3: femur

A line break within a text is written `\\n`, a backslash `\\\\`. What is not there whole, under its own id and once, is
no answer: it is returned as None.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from residency.asking import Ask
from residency.errors import UserError
from residency.types import Questionnaire, Sample

REPORT = "<DETAILED_CAPTION>"
"""What asks for all answers as one report, whichever questions it then speaks of."""
LEAD = "Answer each question in a line that begins with its id."


@dataclass(frozen=True)
class Together:
    """One prompt and answer for several samples about one image; `keys` are the ids under which each is answered."""

    sample: Sample
    members: tuple[Sample, ...]
    keys: tuple[str, ...]


def compose_samples(
    samples: Sequence[Sample], questionnaire: Questionnaire | None = None, *, with_answers: bool
) -> list[Together]:
    """Return one prompt for each image, and annotator, of samples; with its answer, or without any.

    With answers, unanswered questions stay out. A sample whose prompt is another standard question's wording (mute) is
    asked, and answered, under that question's id.

    Raises:
        UserError: a sample has no question id.
    """
    if bare := [sample.id for sample in samples if not sample.question]:
        raise UserError(
            "samples without a question id cannot be asked together",
            found=bare[:3],
            do="ask: each, or ingest an answer sheet with a questionnaire",
        )
    worded = {question.wording: question.id for question in questionnaire.questions} if questionnaire else {}
    sheets: dict[tuple[str, str | None], list[dict[str, Sample]]] = {}
    for sample in samples:
        if with_answers and sample.suffix is None:
            continue
        told = sheets.setdefault((sample.image, sample.annotator), [])
        free = next((sheet for sheet in told if sample.question not in sheet), None)
        if free is None:
            told.append(free := {})
        free[sample.question or ""] = sample
    return [_compose(list(sheet.values()), worded, with_answers) for told in sheets.values() for sheet in told]


def as_asked(samples: Sequence[Sample], ask: Ask, questionnaire: Questionnaire | None) -> list[Sample]:
    """Return annotated samples as they are learned from: each as it is, or all those about an image in one."""
    if ask == "each":
        return list(samples)
    return [sheet.sample for sheet in compose_samples(samples, questionnaire, with_answers=True)]


def render_together(answers: Mapping[str, str]) -> str:
    """Return answers by question id as one text."""
    return "\n".join(f"{id}: {_escape(text)}" for id, text in answers.items())


def parse_together(text: str, ids: Sequence[str], *, whole: bool = True) -> dict[str, str | None]:
    """Return each id's answer, or None where it is missing, said twice, or broken by words without an id.

    `whole`: the text came to its end; else its last line is cut, and no answer.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    found: dict[str, str | None] = {}
    last = ""
    for number, line in enumerate(lines):
        cut = not whole and number + 1 == len(lines)
        id = max((id for id in ids if line.startswith(f"{id}:")), key=len, default="")
        if cut and any(f"{id}:".startswith(line) for id in ids):
            break  # no more than the beginning of the next line
        broken = cut or not id or id in found
        last = id or last
        if last:
            found[last] = None if broken else _unescape(line.removeprefix(f"{id}:").strip())
    return {id: found.get(id) for id in ids}


def _compose(members: list[Sample], worded: Mapping[str, str], with_answers: bool) -> Together:
    members.sort(key=lambda sample: [(part.isdigit(), part.zfill(9)) for part in _pieces(sample.question or "")])
    keys = tuple(worded.get(sample.prefix, sample.question or "") for sample in members)
    asked = dict(zip(keys, (sample.prefix for sample in members), strict=True))
    told = {key: sample.suffix or "" for key, sample in zip(keys, members, strict=True)}
    first = members[0]
    sample = first.model_copy(
        update={
            "id": f"{first.image}:{'+'.join(keys)}",
            "prefix": "\n".join([LEAD, *(f"{key}: {prefix}" for key, prefix in asked.items())]),
            "suffix": render_together(told) if with_answers else None,
            "question": None,
            "answer": None,
            "parts": {},
            "boxes": tuple(box for member in members for box in member.boxes),
            "outlines": tuple(outline for member in members for outline in member.outlines),
        }
    )
    return Together(sample, tuple(members), keys)


def _pieces(id: str) -> list[str]:
    return re.findall(r"\d+|\D+", id)


def _escape(text: str) -> str:
    return text.strip().replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
