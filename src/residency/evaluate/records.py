"""What an examination says, as records: read and written as JSON, shown by the report."""

from typing import Literal

from residency.types import Record, Score

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

    `said` is the model's text where no answer could be read in it.
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
