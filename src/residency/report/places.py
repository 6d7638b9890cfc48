"""An examination in; for each question that asks for boxes or outlines, every score by answerer and label out."""

from collections.abc import Iterator
from dataclasses import dataclass

from residency.evaluate.records import Examination, QuestionShown
from residency.report.view import NAMES, format_score
from residency.types import Score

KINDS = ("boxes", "outlines")
ALL = "all labels"


@dataclass(frozen=True)
class PlaceTable:
    """One question's scores: the metrics' names, and rows of an answerer, a label, how many pictures, and a cell a
    metric."""

    question: QuestionShown
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, str, int, tuple[str, ...]], ...]


def show_places(examination: Examination) -> list[PlaceTable]:
    """Return a table for each question that is answered with boxes or outlines."""
    tables = []
    for question in examination.questions:
        scores = [s for s in examination.scores if s.question == question.id and "-" not in s.of]
        if question.type in KINDS and scores:
            own = [score.metric for score in scores if score.of == scores[0].of and score.subset == "all"]
            metrics = tuple(dict.fromkeys(own))
            tables.append(PlaceTable(question, metrics, tuple(_rows(scores, metrics))))
    return tables


def _rows(scores: list[Score], metrics: tuple[str, ...]) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    for of in (name for name in NAMES if any(score.of == name for score in scores)):
        labels = [s.subset for s in scores if s.of == of and s.subset.startswith("label=")]
        labels = list(dict.fromkeys(labels))
        for subset in labels if len(labels) == 1 else ("all", *labels):
            found = {score.metric: score for score in scores if score.of == of and score.subset == subset}
            label = ALL if subset == "all" else subset.removeprefix("label=")
            cells = tuple(format_score(found.get(metric), "") for metric in metrics)
            yield NAMES[of], label, max(score.n for score in found.values()), cells
