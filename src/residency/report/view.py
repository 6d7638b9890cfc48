"""An examination in; the rows and texts of the page's tables out. It only picks and formats what was computed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from residency.evaluate.doubt import MEANS
from residency.evaluate.read import OTHERS, OUTSIDE
from residency.evaluate.records import ClassRate, Confusion, Examination, QuestionShown, Verdict
from residency.evaluate.verdict import outcome_of
from residency.report.figures import Scale, draw_strip
from residency.types import Score

NAMES = {"own": "tuned model", **{other: other for other in OTHERS}, "base": "base model", "knn": "nearest neighbours"}
NAMES |= {"textprobe": "text-informed probe", "words": "question words alone"}
OUTCOMES = {"better": "better", "tie": "unclear", "worse": "worse", "not run": "not run"}
SIDE = ("majority", "blind", "base", "probe")
SMALL_UNITS = {"", "ranks"}
SHOWN_ITEMS, LONGEST_TEXT = 6, 240


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
class Part:
    """One sub-answer in a line: its name, what is scored, of how many, and the value and interval of each answerer."""

    name: str
    metric: str
    count: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Block:
    """One question (or sub-answer) with its rows, further metrics, confusions and class rates."""

    question: QuestionShown
    metric: str
    scale: Scale
    rows: tuple[Row, ...]
    parts: tuple[Part, ...]
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
    strip: Markup | None
    outcomes: tuple[tuple[str, str], ...]


def show_blocks(examination: Examination) -> list[Block]:
    """Return every question in order, with its sub-answers."""
    scores: dict[str, list[Score]] = {}
    for score in examination.scores:
        if score.subset == "all":
            scores.setdefault(score.question, []).append(score)
    parts: dict[str, list[Part]] = {}
    for question in examination.questions:
        if question.is_part:
            parts.setdefault(question.id.partition(".")[0], []).append(_part(question, scores.get(question.id, [])))
    confusions = {confusion.question: confusion for confusion in examination.confusions}
    return [
        _block(question, scores.get(question.id, []), parts.get(question.id, []), confusions.get(question.id))
        for question in examination.questions
        if not question.is_part
    ]


def show_overview(examination: Examination, blocks: Sequence[Block]) -> list[Line]:
    """Return a line a question (not a sub-answer)."""
    lines = []
    for block in blocks:
        own, majority = block.rows[0].score, next((row.score for row in block.rows if row.of == "majority"), None)
        verdicts = {
            verdict.against: verdict for verdict in examination.verdicts if verdict.question == block.question.id
        }
        count = f"{own.n} answers, {own.groups} groups" if own else ""
        strip = _strip(block.scale, own, majority, strong=True)
        outcomes = tuple((other, outcome_word(verdicts.get(other))) for other in ("majority", "blind", "base"))
        lines.append(Line(block.question, block.metric, block.rows[0].value, count, strip, outcomes))
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


def show_subsets(examination: Examination) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the scores of annotated and never-annotated categories, a row each (none: they are not told apart)."""
    asked = [question for question in examination.questions if not question.is_part]
    rows = []
    for subset, name in (("annotated=yes", "annotated in training"), ("annotated=no", "never annotated in training")):
        found = {score.question: score for score in examination.scores if score.of == "own" and score.subset == subset}
        if found or subset == "annotated=no":
            rows.append((name, [split_score(found.get(q.id), q.unit) for q in asked]))
    return rows


def outcome_word(verdict: Verdict | None) -> str:
    """Return a verdict in the page's words."""
    return OUTCOMES[verdict.outcome if verdict else "not run"]


def format_value(value: float | None, unit: str, *, sign: bool = False) -> str:
    """Return a value in two decimals, with its unit if it is one of measure (`not scored`: there is none)."""
    if value is None:
        return "not scored"
    text = f"{value:.2f}" if unit in SMALL_UNITS or abs(value) < 10 else f"{value:.1f}"
    text += "" if unit in SMALL_UNITS else f" {unit}"
    plus = "+" if sign and value > 0 else ""
    return plus + text.replace("-", "\N{MINUS SIGN}", 1)


def split_score(score: Score | None, unit: str, *, sign: bool = False) -> tuple[str, str]:
    """Return a score's value and its 95% interval as texts."""
    if score is None or score.value is None:
        return "–", ""
    value = format_value(score.value, unit, sign=sign)
    if score.low is None or score.high is None:
        return value, ""
    low, high = (format_value(end, unit, sign=sign).removesuffix(f" {unit}") for end in (score.low, score.high))
    return value, f"[{low}, {high}]"


def format_score(score: Score | None, unit: str, *, sign: bool = False) -> str:
    """Return a score's value with its 95% interval behind it."""
    return " ".join(split_score(score, unit, sign=sign)).strip()


def _block(
    question: QuestionShown, scores: Sequence[Score], parts: Sequence[Part], confusion: Confusion | None
) -> Block:
    primary = {score.of: score for score in scores if score.metric == question.metric}
    gains = {score.of.removeprefix("own-"): score for score in scores if score.of.startswith("own-")}
    scale, own = _scale(question, list(primary.values())), primary.get("own")
    return Block(
        question=question,
        metric=_metric_words(question),
        scale=scale,
        rows=tuple(
            Row(
                of=of,
                name=NAMES[of],
                what=MEANS.get(of, ""),
                strip=_strip(scale, primary.get(of), own, strong=of == "own"),
                score=primary.get(of),
                value=format_score(primary[of], question.unit) if of in primary else "not run",
                gain=format_score(gains[of], question.unit, sign=True) if of in gains else "",
                outcome=OUTCOMES[outcome_of(gains[of])] if of in gains else "",
            )
            for of in ("own", *OTHERS)
            if of in primary or of not in OUTSIDE
        ),
        parts=tuple(parts),
        notes=tuple(_notes(own, question)),
        further=tuple(_further(question, scores)),
        confusion=confusion,
        shades=tuple(_shade(row) for row in confusion.counts) if confusion else (),
        rates=tuple((rate, _share(rate.precision), _share(rate.recall), _share(rate.f1)) for rate in confusion.rates)
        if confusion
        else (),
    )


def _part(question: QuestionShown, scores: Sequence[Score]) -> Part:
    primary = {score.of: score for score in scores if score.metric == question.metric}
    own = primary.get("own")
    return Part(
        name=question.heading,
        metric=_metric_words(question),
        count="; ".join(_notes(own, question)),
        cells=tuple(split_score(primary.get(of), question.unit) for of in ("own", *SIDE)),
    )


def _strip(scale: Scale, score: Score | None, beside: Score | None, *, strong: bool) -> Markup | None:
    if score is None:
        return None
    mark = beside.value if beside else None
    return draw_strip(scale, score.value, score.low, score.high, strong=strong, beside=mark)


def _further(question: QuestionShown, scores: Sequence[Score]) -> Iterator[tuple[str, str]]:
    if question.median_error is not None:
        yield "median absolute error", format_value(question.median_error, question.unit)
    for score in scores:
        if score.of == "own" and score.metric != question.metric:
            yield score.metric, format_score(score, question.unit if score.metric == "bias" else "")


def _metric_words(question: QuestionShown) -> str:
    unit = f" in {question.unit}" if question.unit else ""
    metric = question.metric[0].upper() + question.metric[1:]
    return f"{metric}{unit}, {'higher' if question.higher_is_better else 'lower'} is better"


def _scale(question: QuestionShown, scores: Sequence[Score]) -> Scale:
    if question.higher_is_better:
        return Scale(0, 1)
    ends = [end for score in scores for end in (score.value, score.high) if end is not None]
    return Scale(0, max(ends, default=1) or 1)


def _notes(own: Score | None, question: QuestionShown) -> list[str]:
    if own is None:
        return ["The tuned model was not run."]
    notes = [f"{own.n} answers of {own.groups} groups"]
    if own.unparsed:
        treated = {"number": "left out", "ordinal": "counted as the largest error"}.get(
            question.type, "counted as wrong"
        )
        unclear = f" ({own.unclear} of them unclear: several answers asserted, or none for sure)" if own.unclear else ""
        said = f" ({own.abstained} of them say that the image does not tell)" if own.abstained else ""
        notes.append(f"{own.unparsed} not given or not readable{unclear}{said}, {treated}")
    if own.unscored > own.unparsed or (own.unscored and question.type != "number"):
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
    """Return values as names and texts: of lists and deeper objects their length and first items."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping) and not prefix and any(_is_many(item) for item in value.values()):
            rows += flatten(value, f"{key}: ")
        elif isinstance(value, Mapping):
            rows.append((name, _brief(value)))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            shown = "; ".join(_brief(item) for item in value[:SHOWN_ITEMS])
            rest = f"; and {len(value) - SHOWN_ITEMS} more" if len(value) > SHOWN_ITEMS else ""
            rows.append((name, shown + rest if value else "none"))
        else:
            rows.append((name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)))
    return rows


def _is_many(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str)


def _brief(item: object) -> str:
    if isinstance(item, Mapping) and "message" in item:
        text = str(item["message"])
    elif isinstance(item, Mapping):
        text = (
            ", ".join(f"{key} {value}" for key, value in item.items() if not _is_many(value)) or f"{len(item)} entries"
        )
    else:
        text = str(item)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"
