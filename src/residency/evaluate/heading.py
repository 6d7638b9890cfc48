"""An answer's type in, a few words that name it out."""

from residency.types import AnswerSpec, Question

LONGEST = 60


def name_question(spec: AnswerSpec) -> str:
    """Return a question's first short heading, else the beginning of its wording; of a sub-answer its own name."""
    if not isinstance(spec, Question):
        return spec.id.partition(".")[2] or spec.id
    if spec.headings:
        return spec.headings[0]
    before, colon, _ = spec.wording.partition(":")
    return before if colon and len(before) <= LONGEST else spec.wording[:LONGEST]
