"""What an examination says, as records: read and written as JSON, shown by the report."""

from typing import Literal

from residency.types import Box, Outline, Record, Score

Outcome = Literal["better", "tie", "worse", "not run"]


class Warned(Record):
    """One thing that a reader must know before the scores; `kind` is a stable name."""

    kind: str
    message: str
    question: str = ""


class Verdict(Record):
    """Whether the tuned model is better than another on a question's primary score.

    `gain` is signed so that positive is better, with its 95% interval: better where it lies above 0, worse below.
    """

    question: str
    against: str
    metric: str
    outcome: Outcome
    gain: float | None = None
    low: float | None = None
    high: float | None = None


class Tallied(Record):
    """The verdicts counted over questions. `lower` counts gains below 0 whatever their interval."""

    questions: int
    better: dict[str, int]
    worse: dict[str, int]
    lower: dict[str, int]
    better_than_majority_and_blind: int

    def sentence(self) -> str:
        """Return the count in words."""
        against = ", ".join(f"{name} on {count}" for name, count in self.better.items())
        return (
            f"The tuned model beats majority and blind (interval of the difference above 0) on "
            f"{self.better_than_majority_and_blind} of {self.questions} questions; "
            f"it beats {against or 'nothing run'}; "
            f"it is below the base model on {self.worse.get('base', 'not run')} "
            f"(by the value alone: {self.lower.get('base', 'not run')})."
        )


class ClassRate(Record):
    """One class: how many truths it has, and its precision, recall and F1 (None: no such cases)."""

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


class Confusion(Record):
    """Truths (rows) against answers (columns; the last one unparsed) of one mode."""

    question: str
    of: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    rates: tuple[ClassRate, ...]


class Mark(Record):
    """How one sample was answered: `credit` in [0, 1] (None for numbers), `error` in ranks or units.

    `said` is the model's text where no answer could be read in it; `boxes` and `outlines` are those that it told.
    """

    id: str
    question: str
    of: str
    group: str
    category: str | None = None
    truth: str
    answer: str | None = None
    said: str = ""
    credit: float | None = None
    error: float | None = None
    boxes: tuple[Box, ...] = ()
    outlines: tuple[Outline, ...] = ()


class SplitCount(Record):
    """What one split holds, and of each category how many images."""

    split: str
    samples: int
    images: int
    groups: int
    categories: dict[str, int]


class Hashes(Record):
    """What the scores were made from and with, as SHA-256 (None: no such file)."""

    samples: str
    splits: str | None = None
    questionnaire: str | None = None
    prompts: str
    predictions: dict[str, str]
    code: str
    version: str
    metric: str
    metric_version: str


class QuestionShown(Record):
    """A question or sub-answer as the page shows it."""

    id: str
    type: str
    heading: str
    """A few words that name the question."""
    wording: str = ""
    unit: str = ""
    metric: str
    higher_is_better: bool
    is_part: bool
    median_error: float | None = None


class Looking(Record):
    """What the image is worth: mean credit with it and against the model blind, or with another's image."""

    against: str
    own: float | None
    other: float | None
    gain: float | None
    low: float | None
    high: float | None
    outcome: str
    """`looks`, `does not look` (the whole interval below 0.05), `not shown to look`, or `unknown` (too few groups)."""


class Bin(Record):
    """Answers of about equal confidence: how many, how sure on average, and what share is right."""

    answers: int
    confidence: float
    right: float


class Reliability(Record):
    """Calibration: Brier score, ECE (None below 200 answers), bins; risk (share wrong) by coverage, and its area."""

    brier: float | None
    brier_low: float | None
    brier_high: float | None
    ece: float | None
    ece_low: float | None
    ece_high: float | None
    mean_confidence: float
    share_right: float
    bins: tuple[Bin, ...]
    area: float
    area_low: float | None
    area_high: float | None
    curve: tuple[tuple[float, float], ...]


class Confidence(Record):
    """How well the tuned model knows what it knows: as it is, and at the temperatures that validation chose."""

    answers: int
    groups: int
    validation_answers: int
    temperature_chosen: float | None
    temperature_generated: float | None
    raw: Reliability
    scaled: Reliability | None


class Subgroup(Record):
    """The mean credit of one subgroup with its interval."""

    value: str
    score: float | None
    low: float | None
    high: float | None
    exact: tuple[float, float] | None = None
    n: int
    groups: int
    note: str = ""


class Gap(Record):
    """The largest difference between two subgroups of six groups or more; its interval allows for the choice."""

    best: str
    worst: str
    gap: float
    low: float | None
    high: float | None
    pairs: int
    p: float | None = None
    adjusted: float | None = None
    """p times the pairs it was picked from; and, by question, Holm's over all questions and attributes."""


class Subgroups(Record):
    """An attribute's subgroups, over all answers or of one question; `untold` answers have no value of it."""

    attribute: str
    question: str = ""
    metric: str = "mean credit"
    unit: str = ""
    untold: int
    rows: tuple[Subgroup, ...]
    gap: Gap | None


class Copying(Record):
    """What became of the cases that prompts told of: how often an answer is a neighbour's, rightly and wrongly.

    `copied` is the share of n answers with its 95% interval by group; `question` is empty for all together.
    `told_right`: how often the truth stood among the neighbours' answers.
    """

    of: str
    question: str
    n: int
    groups: int
    copied: float | None
    low: float | None
    high: float | None
    copied_right: int
    copied_wrong: int
    own_right: int
    own_wrong: int
    told_right: int

    def sentence(self) -> str:
        """Return it in words."""
        ends = "" if self.low is None or self.high is None else f" ({self.low:.2f} to {self.high:.2f})"
        share = "-" if self.copied is None else f"{self.copied:.2f}"
        return (
            f"Of {self.n} answers to prompts that tell of similar cases, {share}{ends} are a neighbour's: "
            f"{self.copied_right} rightly, {self.copied_wrong} wrongly; of the others {self.own_right} are right, "
            f"{self.own_wrong} wrong. The truth stood among the neighbours' answers {self.told_right} times."
        )


class Examination(Record):
    """All that was found about one run's answers to one split (pooled over its folds)."""

    run: str
    split: str
    folds: int
    draws: int
    seed: int
    hashes: Hashes
    ran: dict[str, int]
    not_run: tuple[str, ...]
    questions: tuple[QuestionShown, ...]
    tallied: Tallied
    verdicts: tuple[Verdict, ...]
    warnings: tuple[Warned, ...]
    counts: tuple[SplitCount, ...]
    annotated_categories: tuple[str, ...]
    scores: tuple[Score, ...]
    confusions: tuple[Confusion, ...]
    looking: tuple[Looking, ...] = ()
    confidence: Confidence | None = None
    subgroups: tuple[Subgroups, ...] = ()
    question_subgroups: tuple[Subgroups, ...] = ()
    copying: tuple[Copying, ...] = ()
