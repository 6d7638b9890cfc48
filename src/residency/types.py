"""The records that flow between commands: frozen, validated, written to and read from JSON lines.

Nothing here imports anything of ours. Box and outline coordinates are pixels of the original image.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

AnswerType = Literal["choice", "set", "ordinal", "number", "text"]
SplitName = Literal["train", "val", "test"]
Mode = Literal["own", "base", "blind", "shuffled", "mute"]
Floor = Literal["majority", "probe", "knn", "textprobe", "words", "detector"]
"""What to beat: the training split's majority answer; a linear probe, one that leans on the answers' texts, and kNN
on the frozen tower; the prompt's words alone, where prompts differ; a classic detector that
learned from the same split (its predictions come from outside: benchmarks/detect.py)."""
MODES: tuple[Mode, ...] = ("own", "base", "blind", "shuffled", "mute")
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class Record(BaseModel):
    """A frozen record; an unknown or a missing field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def line(self) -> str:
        """Return the record as one line of JSON, defaults left out, without the line break."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)


class Quantity(Record):
    """A number with its unit, such as 32.4 mm or 12.57 weeks."""

    value: Annotated[float, Field(allow_inf_nan=False)]
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}".strip()


Answer = str | tuple[str, ...] | Quantity
"""A canonical answer: a vocabulary name (choice, ordinal), free text, names in order (set), or a quantity."""


class Source(Record):
    """Where a sample came from: the user's file, and in a workbook its sheet and cell (`C14`) or line number."""

    file: str
    sheet: str | None = None
    cell: str | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.file, self.sheet and f"[{self.sheet}]", self.cell) if part)


class Problem(Record):
    """One thing wrong with one place of the user's data; `kind` is a stable name, `candidates` are near matches."""

    kind: str
    message: str
    source: Source | None = None
    candidates: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        near = f" (nearest: {', '.join(self.candidates)})" if self.candidates else ""
        return f"{place}{self.message}{near} [{self.kind}]"


class Box(Record):
    """A labelled box [x0, y0, x1, y1] in pixels of the original image, x1 > x0 and y1 > y0."""

    label: str
    xyxy: tuple[float, float, float, float]

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        x0, y0, x1, y1 = self.xyxy
        if not (all(map(math.isfinite, self.xyxy)) and x1 > x0 and y1 > y0):
            raise ValueError(f"box {self.label} {self.xyxy} has no area")
        return self


class Outline(Record):
    """A labelled closed polygon, at least three (x, y) points in pixels of the original image."""

    label: str
    points: Annotated[tuple[tuple[float, float], ...], Field(min_length=3)]


class Neighbour(Record):
    """An annotated case like the one asked about: its sample's id, group, answer, and cosine `distance` (0: equal).

    A text passage has its place as `id` and no answer.
    """

    id: str
    group: str = ""
    answer: Answer | None = None
    distance: float | None = None


class Context(Record):
    """What retrieval puts into a prompt before and after the question, and the neighbours it came from."""

    before: str = ""
    after: str = ""
    neighbours: tuple[Neighbour, ...] = ()


class Sample(Record):
    """One image, one prompt, one expected answer.

    `prefix` is the question as asked, `suffix` the expected answer as text (None: unannotated). `answer` and
    `parts` (sub-answers by id, such as `q5.weeks`) are its canonical form. `image` is absolute or relative to the
    folder of `samples.jsonl`. `columns` are further sheet columns that a recipe's prompt template may name.
    `spacing_mm` is (row, column) in mm a pixel of the original. `context` is what was retrieved for it (never in a
    dataset's file).
    """

    id: str
    image: str
    prefix: str
    suffix: str | None = None
    group: str
    category: str | None = None
    question: str | None = None
    answer: Answer | None = None
    parts: dict[str, Answer] = Field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    outlines: tuple[Outline, ...] = ()
    annotator: str | None = None
    attributes: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    spacing_mm: tuple[float, float] | None = None
    sha256: str | None = None
    source: Source | None = None
    context: Context | None = None
    shots: tuple["Sample", ...] = ()
    """Solved examples to show before the question (data/shots.py); made for asking, never kept in a dataset."""

    @property
    def asks(self) -> str:
        """What samples that ask the same share: their question's id, else the prompt's task or words."""
        return self.question or self.prefix


class Option(Record):
    """One canonical answer and the other wordings that mean the same. In an ordinal the order is the rank."""

    name: str
    synonyms: tuple[str, ...] = ()


class AnswerSpec(Record):
    """How one answer is typed: its id (`q4`, or `q4.femur length` for a sub-answer), type, vocabulary, unit, range."""

    id: str
    type: AnswerType
    options: tuple[Option, ...] = ()
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical vocabulary, in order."""
        return tuple(option.name for option in self.options)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.type in ("choice", "ordinal") and len(self.options) < 2:
            raise ValueError(f"{self.id}: a {self.type} answer needs at least two options")
        if self.type == "number" and self.unit is None:
            raise ValueError(f"{self.id}: a number needs a unit (unit: mm)")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.id}: an option stands twice")
        return self


class Question(AnswerSpec):
    """A standard question: its wording as asked, the short headings a sheet may use, and its sub-answers.

    A sub-answer's id is `QUESTION.NAME`; in a set whose members are measured, NAME is the member's name.
    """

    wording: str
    headings: tuple[str, ...] = ()
    parts: tuple[AnswerSpec, ...] = ()


class Questionnaire(Record):
    """The standard questions of an answer sheet, in order, and the categories its images may have (none: any)."""

    name: str
    title: str = ""
    language: str = "en"
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    categories: tuple[Option, ...] = ()

    def question(self, id: str) -> Question:
        """Return the question with this id.

        Raises:
            KeyError: no question has it.
        """
        return {question.id: question for question in self.questions}[id]


class Fold(Record):
    """The groups of each split; no group stands in two."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    def split_of(self) -> dict[str, SplitName]:
        """Return each group's split."""
        return {group: name for name in SPLITS for group in getattr(self, name)}


class Splits(Record):
    """How groups were divided: a plain split is one fold."""

    seed: int
    method: str
    folds: Annotated[tuple[Fold, ...], Field(min_length=1)]


class Prediction(Record):
    """What a model answered to one sample.

    `candidates` maps each offered answer to its log-likelihood in nats over answer tokens and end token, and is
    empty where the answer was generated. `confidence` is in [0, 1]: normalized likelihood over the candidates, or
    the mean token likelihood of generated text. `parsed` is None where the text maps to no canonical answer.
    `seconds` is this sample's share of its batch. `neighbours` are the cases that its prompt told of.
    """

    id: str
    model: str
    mode: Annotated[Mode | Floor, Field(alias="as")]
    split: SplitName | Literal["all"]
    fold: int = 0
    prompt_sha256: str
    prediction: str
    parsed: Answer | None = None
    parts: dict[str, Answer] = Field(default_factory=dict)
    candidates: dict[str, float] = Field(default_factory=dict)
    confidence: float | None = None
    box_scores: tuple[float, ...] = ()
    box_cut: float | None = None
    seconds: float = 0.0
    neighbours: tuple[Neighbour, ...] = ()


class Score(Record):
    """One figure with its interval. `value` is None where nothing could be scored; never 0 in its place.

    `of` is what was scored: a mode (`own` ...), `majority`, a floor, or a difference such as `own-blind`.
    `question` is a question's or a sub-answer's id; `subset` is `all`, `category=NAME`, `annotated=yes|no`.
    [low, high] is the 95% interval by group bootstrap; `exact` the exact binomial one where groups are too few.
    `unparsed` answers hold none that could be read; `unclear` of them assert several options, or none for sure, and
    `abstained` of them say that the image does not tell: not right, but no false claim either.
    """

    of: str
    question: str
    metric: str
    subset: str = "all"
    value: float | None
    low: float | None = None
    high: float | None = None
    exact: tuple[float, float] | None = None
    n: int
    groups: int
    unparsed: int = 0
    unclear: int = 0
    abstained: int = 0
    unscored: int = 0
    note: str = ""
