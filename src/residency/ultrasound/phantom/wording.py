"""Answers as a site's annotators write them: canonical answers and a style in, the text of eight cells out."""

from collections.abc import Mapping

from residency.types import Quantity
from residency.ultrasound.phantom.answers import Answers, PartValue
from residency.ultrasound.phantom.sites import Style, say_name


def word_answers(answers: Answers, style: Style) -> dict[str, str]:
    """Return the cell text of each question, by id."""
    parts = answers.parts
    members = {name: say_name(style, name) for name in answers.whole["q4"]}
    measured = {name: _word_length(style, word, parts.get(f"q4.{name}")) for name, word in members.items()}
    texts = {
        "q1": _word_set(style, answers.whole["q1"]),
        "q2": str(answers.whole["q2"]),
        "q3": str(answers.whole["q3"]),
        "q4": style.separator.join(measured.values()) or "none",
        "q5": _word_age(style, str(answers.whole["q5"]), parts.get("q5.weeks")),
        "q6": _word_quality(style, answers),
        "q7": _word_normality(style, str(answers.whole["q7"]), parts),
        "q8": say_name(style, str(answers.whole["q8"])),
    }
    return {id: text[:1].upper() + text[1:] if style.capital else text for id, text in texts.items()}


def _word_set(style: Style, names: object) -> str:
    assert isinstance(names, tuple)
    return style.separator.join(say_name(style, name) for name in names) or "none"


def _word_length(style: Style, word: str, value: PartValue | None) -> str:
    if not isinstance(value, Quantity):
        return word
    if value.unit == "degrees":
        return f"{word} {value.value:g} degrees"
    written = {"mm": f"{value.value:g}", "cm": f"{value.value / 10:.3g}"}
    if style.comma:
        written = {unit: text.replace(".", ",") for unit, text in written.items()}
    return style.length.format(name=word, **written)


def _word_age(style: Style, span: str, value: PartValue | None) -> str:
    if not isinstance(value, Quantity):
        return span
    days = round(value.value * 7)
    return f"{span} ({style.age.format(w=days // 7, d=days % 7)})"


def _word_quality(style: Style, answers: Answers) -> str:
    grade = say_name(style, str(answers.whole["q6"]))
    factors = answers.parts.get("q6.factors")
    if not isinstance(factors, tuple):
        return grade
    return style.extra.format(answer=grade, extra=", ".join(say_name(style, name) for name in factors))


def _word_normality(style: Style, answer: str, parts: Mapping[str, PartValue]) -> str:
    finding = parts.get("q7.finding")
    if not isinstance(finding, str):
        return say_name(style, answer)
    # A finding that says by itself whether it is abnormal needs no more words.
    if finding.startswith(answer):
        return say_name(style, finding)
    return style.extra.format(answer=answer, extra=say_name(style, finding))
