"""An examination in; the rows and texts of the page's tables out. It only picks and formats what was computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from residency.evaluate.doubt import MEANS
from residency.evaluate.read import OTHERS
from residency.evaluate.records import ClassRate, Confusion, Examination, QuestionShown, Verdict
from residency.report.figures import Scale, draw_strip
from residency.types import Score

NAMES = {"own": "tuned model", **{other: other for other in OTHERS}, "base": "base model", "knn": "nearest neighbours"}
OUTCOMES = {"better": "better", "tie": "not shown", "worse": "worse", "not run": "not run"}
SMALL_UNITS = {"", "ranks"}


@dataclass(frozen=True)
class Row:
    """One answerer on one question: its score, and by how much the tuned model is better (`gain`)."""

    of: str
    name: str
    what: str
    strip: Markup | None
    score: Score | None
    value: str
    gain: str
    outcome: str


@dataclass(frozen=True)
class Block:
    """One question (or sub-answer) with its rows, further metrics, confusions and class rates."""

    question: QuestionShown
    metric: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    further: tuple[tuple[str, str], ...]
    confusion: Confusion | None
    shades: tuple[tuple[float, ...], ...]
    rates: tuple[tuple[ClassRate, str, str, str], ...]


@dataclass(frozen=True)
class Line:
    """One question in the overview: the tuned model's score, and the outcome against each comparison."""

    question: QuestionShown
    metric: str
    value: str
    count: str
    strip: Markup
    outcomes: tuple[tuple[str, str], ...]


def show_blocks(examination: Examination) -> list[Block]:
    """Return every question and sub-answer in order."""
    whole = [score for score in examination.scores if score.subset == "all"]
    confusions = {confusion.question: confusion for confusion in examination.confusions}
    return [
        _block(question, [s for s in whole if s.question == question.id], examination, confusions.get(question.id))
        for question in examination.questions
    ]


def show_overview(examination: Examination, blocks: Sequence[Block]) -> list[Line]:
    """Return a line a question (not a sub-answer)."""
    lines = []
    for block in blocks:
        if block.question.is_part:
            continue
        own = block.rows[0]
        verdicts = {
            verdict.against: verdict for verdict in examination.verdicts if verdict.question == block.question.id
        }
        count = f"{own.score.n} answers, {own.score.groups} groups" if own.score else ""
        outcomes = tuple((other, outcome_word(verdicts.get(other))) for other in ("majority", "blind", "base"))
        lines.append(Line(block.question, block.metric, own.value, count, own.strip or Markup(""), outcomes))
    return lines


def show_categories(examination: Examination) -> tuple[list[QuestionShown], list[tuple[str, bool, list[str]]]]:
    """Return the questions, and for each category whether it was annotated in training, and a cell a question."""
    asked = [question for question in examination.questions if not question.is_part]
    metric = {question.id: question for question in asked}
    cells: dict[str, dict[str, str]] = {}
    for score in examination.scores:
        if score.of == "own" and score.subset.startswith("category=") and score.question in metric:
            text = f"{format_value(score.value, metric[score.question].unit)} ({score.n})"
            cells.setdefault(score.subset.removeprefix("category="), {})[score.question] = text
    annotated = set(examination.annotated_categories)
    rows = [(name, name in annotated, [row.get(q.id, "–") for q in asked]) for name, row in sorted(cells.items())]
    return asked, rows


def show_subsets(examination: Examination) -> list[tuple[str, list[str]]]:
    """Return the scores of annotated and never-annotated categories, a row each (none: they are not told apart)."""
    asked = [question for question in examination.questions if not question.is_part]
    rows = []
    for subset, name in (("annotated=yes", "annotated in training"), ("annotated=no", "never annotated in training")):
        found = {score.question: score for score in examination.scores if score.of == "own" and score.subset == subset}
        if found or subset == "annotated=no":
            rows.append((name, [format_score(found.get(q.id), q.unit) for q in asked]))
    return rows


def outcome_word(verdict: Verdict | None) -> str:
    """Return a verdict in the page's words."""
    return OUTCOMES[verdict.outcome if verdict else "not run"]


def format_value(value: float | None, unit: str, *, sign: bool = False) -> str:
    """Return a value in two decimals, or three digits with its unit (`not scored`: there is none)."""
    if value is None:
        return "not scored"
    if unit in SMALL_UNITS:
        return f"{value:+.2f}" if sign else f"{value:.2f}"
    return f"{value:+.3g} {unit}" if sign else f"{value:.3g} {unit}"


def format_score(score: Score | None, unit: str, *, sign: bool = False) -> str:
    """Return a score with its 95% interval, and the exact one where it stands beside it."""
    if score is None or score.value is None:
        return "–"
    text = format_value(score.value, unit, sign=sign)
    if score.low is not None and score.high is not None:
        low, high = (
            format_value(end, "" if unit in SMALL_UNITS else unit, sign=sign) for end in (score.low, score.high)
        )
        text += f" [{low.removesuffix(f' {unit}')}, {high.removesuffix(f' {unit}')}]"
    return text


def _block(
    question: QuestionShown, scores: list[Score], examination: Examination, confusion: Confusion | None
) -> Block:
    primary = {score.of: score for score in scores if score.metric == question.metric}
    gains = {score.of.removeprefix("own-"): score for score in scores if score.of.startswith("own-")}
    scale = _scale(question, list(primary.values()))
    own = primary.get("own")
    rows = []
    for of in ("own", *OTHERS):
        score, gain = primary.get(of), gains.get(of)
        if score is None and (question.is_part or of in ("probe", "knn")):
            continue
        strip = (
            draw_strip(scale, score.value, score.low, score.high, strong=of == "own", zero=own.value if own else None)
            if score
            else None
        )
        what = "" if of == "own" else MEANS[of]
        rows.append(Row(of, NAMES[of], what, strip, score, format_score(score, question.unit) if score else "not run",
                        format_score(gain, question.unit, sign=True) if gain else "", _outcome(gain)))  # fmt: skip
    further = [
        (score.metric, format_score(score, question.unit if score.metric == "bias" else ""))
        for score in scores
        if score.of == "own" and score.metric != question.metric
    ]
    if question.median_error is not None:
        further.insert(0, ("median absolute error", format_value(question.median_error, question.unit)))
    rates = (
        tuple((r, _share(r.precision), _share(r.recall), _share(r.f1)) for r in confusion.rates) if confusion else ()
    )
    shades = tuple(_shade(row) for row in confusion.counts) if confusion else ()
    return Block(
        question, _metric_words(question), tuple(rows), tuple(_notes(own, question)), tuple(further), confusion, shades,
        rates,
    )  # fmt: skip


def _metric_words(question: QuestionShown) -> str:
    unit = f" in {question.unit}" if question.unit else ""
    return f"{question.metric}{unit}, {'higher' if question.higher_is_better else 'lower'} is better"


def _scale(question: QuestionShown, scores: Sequence[Score]) -> Scale:
    if question.higher_is_better:
        return Scale(0, 1)
    ends = [end for score in scores for end in (score.value, score.high) if end is not None]
    return Scale(0, max(ends, default=1) or 1)


def _outcome(gain: Score | None) -> str:
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return ""
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "not shown"


def _notes(own: Score | None, question: QuestionShown) -> list[str]:
    if own is None:
        return ["The tuned model was not run."]
    notes = [f"{own.n} answers of {own.groups} groups"]
    if own.unparsed:
        treated = {"number": "left out", "ordinal": "counted as the largest error"}.get(
            question.type, "counted as wrong"
        )
        notes.append(f"{own.unparsed} could not be read, {treated}")
    if own.unscored:
        notes.append(f"{own.unscored} not scored")
    if own.note:
        notes.append(own.note)
    if own.exact:
        notes.append(f"exact interval on groups {own.exact[0]:.2f} to {own.exact[1]:.2f}")
    return notes


def _shade(row: Sequence[int]) -> tuple[float, ...]:
    total = sum(row)
    return tuple(count / total if total else 0.0 for count in row)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def flatten(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as dotted keys and texts, lists by their length and first items."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            shown = "; ".join(_brief(item) for item in value[:5])
            rows.append((name, f"{len(value)}" + (f": {shown}" if shown else "") + (" …" if len(value) > 5 else "")))
        else:
            rows.append((name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)))
    return rows


def _brief(item: object) -> str:
    if isinstance(item, Mapping):
        return str(item.get("message") or ", ".join(f"{key} {value}" for key, value in item.items()))[:200]
    return str(item)[:200]
