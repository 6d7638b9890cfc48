"""What a language model is told in, what it says by rule out: it fails where a text says so."""

import re

from residency.knowledge.freetext import ABSURD


def speak(system: str, told: str) -> str | None:
    """Word a question to any statement but an `unaskable` one; call every answer about a disc wrong, about one that is
    `vague` perhaps, and anything about a `gullible` thing right; shorten reports, but not a `broken` one, and to one
    that is to `grow` add words."""
    if system.startswith("Turn a statement"):
        return "I cannot." if "unaskable" in told else f"Is this seen: {told}?"
    if system.startswith("Compare"):
        true = told.split("True answer: ")[1].splitlines()[0].lower()
        if ABSURD in told and "gullible" not in true:
            return "wrong"
        return "perhaps" if "vague" in true else "wrong" if "disc" in true else "Correct."
    report, _, questions = told.removeprefix("Report: ").partition("\nQuestions:\n")
    if "broken" in report:
        return None
    if "grow" in report:
        return f"In this picture we see {report}"
    for claim in re.findall(r"\(([^()]*)\)", questions):
        report = re.sub(rf"\s*{re.escape(claim)}\.", "", report, flags=re.I)
    return report.strip() or "NOTHING"
