"""What became of told neighbours' answers, and how many validation chose, in; the page's tables of cases out."""

from collections.abc import Sequence

from residency.config import Recipe
from residency.evaluate.records import Copying, Examination
from residency.knowledge.calibration import Calibration
from residency.report.view import NAMES
from residency.types import Record


class CasesTold(Record):
    """How prompts came to tell of cases, how often answers are theirs, and each number's score on validation."""

    told: str
    rows: tuple[tuple[str, ...], ...]
    """Who answers, which question, answers, share that is a neighbour's, then counts: a neighbour's right and wrong,
    its own right and wrong, the truth among the neighbours'."""
    counts: tuple[str, ...]
    chosen: tuple[tuple[str, ...], ...]
    """Fold, validation answers, the score with each of `counts`, the number chosen."""


def show_cases(
    examination: Examination, recipe: Recipe | None, calibrations: Sequence[Calibration | None]
) -> CasesTold | None:
    """Return the tables; None for a run that tells of no cases."""
    settings = recipe.retrieval if recipe else None
    kept = {fold: one for fold, one in enumerate(calibrations) if one and settings and settings.k == "auto"}
    if not examination.copying and not kept:
        return None
    own = [one for one in examination.copying if one.of == "own"]
    questions = [one for one in own if one.question]
    beside = [one for one in examination.copying if one.of != "own" and not one.question]
    whole = [one.sentence() for one in own if not one.question]
    counts = tuple(dict.fromkeys(number for one in kept.values() for number in one.scores))
    rows = [
        (str(fold), str(one.samples), *(_tell_score(one, number) for number in counts), str(one.k))
        for fold, one in kept.items()
    ]
    return CasesTold(
        told=" ".join(whole) or "The tuned model was told of no case.",
        rows=tuple(_tell_row(one) for one in (*(own if len(questions) > 1 else questions), *beside)),
        counts=counts,
        chosen=tuple(rows),
    )


def _tell_row(one: Copying) -> tuple[str, ...]:
    ends = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    share = "not scored" if one.copied is None else f"{one.copied:.2f}{ends}"
    counts = (one.copied_right, one.copied_wrong, one.own_right, one.own_wrong, one.told_right)
    return (NAMES.get(one.of, one.of), one.question or "all", str(one.n), share, *map(str, counts))


def _tell_score(one: Calibration, number: str) -> str:
    return f"{one.scores[number]:.3f}" if number in one.scores else "–"
