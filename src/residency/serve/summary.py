"""Kept cases and reviews in; agreement between reviewers, ratings, latency and the drift of answers over time out.

Reviewers see the model's answer before they give theirs, so their agreement is higher than that of independent readers.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import combinations

import numpy as np

from residency.evaluate.bootstrap import Estimate, estimate
from residency.evaluate.claims.validate import KAPPA, cohen_kappa
from residency.evaluate.metric import Metric, Tally, mean_tally
from residency.questionnaire import render_value
from residency.serve.reviews import Reviewed, last_words, list_reviewed
from residency.serve.store import AnswerRow, CaseRow, Store
from residency.serve.told import AnswerTold
from residency.types import Answer, Question, Questionnaire, Record

RATING = Metric("rating", bounded=False)
UNREAD = "(none)"
PERMUTATIONS = 2000
MOST_SHOWN = 8


class Figure(Record):
    """A value with its 95% interval by patient (null: too few)."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    groups: int = 0
    note: str = ""


class Drift(Record):
    """How a question's answers were shared out week by week; `distance` (total variation, 0 to 1) is the last week's
    from all before, `p` how often chance alone gives as much (null: one week only)."""

    weeks: dict[str, dict[str, float]]
    cases: dict[str, int]
    distance: float | None = None
    p: float | None = None


class QuestionSummary(Record):
    """One question: how its answers were received, how reviewers agree (Cohen's kappa over pairs of last words)."""

    question: str
    heading: str
    accept: int
    edit: int
    reject: int
    kappa: Figure
    same: float | None
    drift: Drift


class Summary(Record):
    """All reviews together; seconds are medians and 90% points."""

    cases: int
    reviewed_cases: int
    reviewers: tuple[str, ...]
    verdicts: dict[str, int]
    rating: Figure
    ratings: dict[str, int]
    model_seconds: tuple[float, float] | None
    review_seconds: tuple[float, float] | None
    questions: tuple[QuestionSummary, ...]
    note: str = "reviewers saw the model's answer first: their agreement is not that of independent readers"

    def sentences(self) -> list[str]:
        """Say the figures of the whole."""
        told = [f"{self.reviewed_cases} of {self.cases} cases reviewed by {len(self.reviewers)} reviewer(s)"]
        if self.rating.value is not None:
            ends = "" if self.rating.low is None else f" [{self.rating.low:.2f}, {self.rating.high:.2f}]"
            told.append(f"rating {self.rating.value:.2f} of 5{ends} ({self.rating.n} ratings)")
        for name, spread in (("model", self.model_seconds), ("review", self.review_seconds)):
            told += [f"{name}: median {spread[0]:g} s a case, 90% within {spread[1]:g} s"] if spread else []
        return told


def summarize(store: Store, questionnaire: Questionnaire) -> Summary:
    """Return what the reviews in a store say so far."""
    cases, answers, rows = store.list_rows()
    held = list(last_words(list_reviewed(rows)).values())
    patient_of = {case.id: case.patient for case in cases}
    rated = [word for word in held if word.rating is not None]
    marks = np.array([float(word.rating or 0) for word in rated])
    rating = estimate(mean_tally(RATING, marks), [patient_of[word.case] for word in rated])
    return Summary(
        cases=len(cases),
        reviewed_cases=len({word.case for word in held}),
        reviewers=tuple(sorted({word.author for word in held})),
        verdicts=dict(Counter(word.verdict for word in held if word.verdict)),
        rating=_as_figure(rating),
        ratings={str(stars): sum(word.rating == stars for word in rated) for stars in range(1, 6)},
        model_seconds=_spread([case.seconds for case in cases]),
        review_seconds=_spread(list({(w.case, w.author): w.seconds for w in held if w.seconds is not None}.values())),
        questions=tuple(_summarize(question, cases, answers, held) for question in questionnaire.questions),
    )


def _summarize(
    question: Question, cases: Sequence[CaseRow], answers: Sequence[AnswerRow], held: Sequence[Reviewed]
) -> QuestionSummary:
    own = [word for word in held if word.question == question.id]
    verdicts = Counter(word.verdict for word in own)
    kappa, same = measure_agreement(question, cases, own)
    return QuestionSummary(
        question=question.id,
        heading=question.wording.partition(":")[0],
        accept=verdicts["accept"],
        edit=verdicts["edit"],
        reject=verdicts["reject"],
        kappa=kappa,
        same=same,
        drift=measure_drift(cases, [answer for answer in answers if answer.question == question.id]),
    )


def measure_agreement(
    question: Question, cases: Sequence[CaseRow], words: Sequence[Reviewed], seed: int = 0
) -> tuple[Figure, float | None]:
    """Return kappa between reviewers with its interval by patient, and the share of pairs that say the same.

    A pair is two reviewers' last words on one picture. Of a set each name counts as a decision, there or not.
    """
    case_of = {case.id: case for case in cases}
    said: dict[str, dict[str, Answer | None]] = defaultdict(dict)
    for word in sorted(words, key=lambda word: word.id):
        said[case_of[word.case].image_sha256][word.author] = word.answer
    patient_of = {case.image_sha256: case.patient for case in cases}
    pairs = [
        (patient_of[image], by[one], by[other])
        for image, by in said.items()
        for one, other in combinations(sorted(by), 2)
    ]
    if not pairs:
        return Figure(value=None, note="no picture was reviewed by two"), None
    rows_ND = _count_pairs(question, [(one, other) for _, one, other in pairs])
    tally = Tally(KAPPA, rows_ND, cohen_kappa, np.ones(len(pairs), dtype=np.bool_))
    figure = _as_figure(estimate(tally, [patient for patient, _, _ in pairs], seed=seed))
    if figure.value is None or np.isnan(figure.value):
        figure = Figure(value=None, n=len(pairs), groups=figure.groups, note="all say the same: kappa is not defined")
    return figure, float(np.mean([one == other for _, one, other in pairs]))


def _count_pairs(question: Question, pairs: Sequence[tuple[Answer | None, Answer | None]]) -> np.ndarray:
    """Return each pair's confusion counts, one row a pair [N, K * K]."""
    if question.type == "set":
        rows_ND = np.zeros((len(pairs), 4))
        for row, (one, other) in enumerate(pairs):
            first, second = (set(said) if isinstance(said, tuple) else set() for said in (one, other))
            for name in question.names:
                rows_ND[row, 2 * (name in first) + (name in second)] += 1
        return rows_ND
    words = [(_word(one), _word(other)) for one, other in pairs]
    place = {name: number for number, name in enumerate(sorted({word for pair in words for word in pair}))}
    rows_ND = np.zeros((len(pairs), len(place) ** 2))
    for row, (first_word, second_word) in enumerate(words):
        rows_ND[row, len(place) * place[first_word] + place[second_word]] = 1
    return rows_ND


def measure_drift(cases: Sequence[CaseRow], answers: Sequence[AnswerRow], seed: int = 0) -> Drift:
    """Return the shares of each answer by ISO week, and whether the last week differs from those before."""
    week_of = {case.id: _week(case.created) for case in cases}
    names = [_word(AnswerTold.model_validate(answer.told).answer) for answer in answers]
    weeks = [week_of[answer.case_id] for answer in answers]
    common = [name for name, _ in Counter(names).most_common(MOST_SHOWN)]
    shown = [name if name in common else "(other)" for name in names]
    counts: Mapping[str, Counter[str]] = {week: Counter() for week in sorted(set(weeks))}
    for week, name in zip(weeks, shown, strict=True):
        counts[week][name] += 1
    shares = {week: {n: round(c / k.total(), 4) for n, c in k.most_common()} for week, k in counts.items()}
    totals = {week: found.total() for week, found in counts.items()}
    if len(counts) < 2:
        return Drift(weeks=shares, cases=totals)
    last_N = np.array([week == max(counts) for week in weeks])
    kind_N = np.unique(shown, return_inverse=True)[1]
    distance = _vary(kind_N, last_N)
    rng = np.random.default_rng(seed)
    chance = [_vary(kind_N, rng.permutation(last_N)) for _ in range(PERMUTATIONS)]
    p = (1 + sum(value >= distance - 1e-12 for value in chance)) / (1 + PERMUTATIONS)
    return Drift(weeks=shares, cases=totals, distance=round(distance, 4), p=round(p, 4))


def _vary(kind_N: np.ndarray, last_N: np.ndarray) -> float:
    """Return the total variation distance between the answers of the last week and those before."""
    kinds = int(kind_N.max()) + 1
    now_K = np.bincount(kind_N[last_N], minlength=kinds) / last_N.sum()
    then_K = np.bincount(kind_N[~last_N], minlength=kinds) / (~last_N).sum()
    return float(np.abs(now_K - then_K).sum() / 2)


def _word(answer: Answer | None) -> str:
    return UNREAD if answer is None else render_value(answer)


def _week(created: str) -> str:
    year, week, _ = datetime.fromisoformat(created).isocalendar()
    return f"{year}-W{week:02d}"


def _spread(seconds: Sequence[float]) -> tuple[float, float] | None:
    if not seconds:
        return None
    middle, high = np.quantile(seconds, [0.5, 0.9])
    return round(float(middle), 3), round(float(high), 3)


def _as_figure(found: Estimate) -> Figure:
    return Figure(value=found.value, low=found.low, high=found.high, n=found.n, groups=found.groups, note=found.note)
