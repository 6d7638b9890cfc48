"""The recipe's sections that say how a model is asked, with their defaults: cases, examples, tiles, answers."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from residency.section import Count, Section, Share

Ask = Literal["each", "together"]


class Shots(Section):
    """Solved examples of the training split, shown before each question; never one of the same group."""

    count: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    """Which examples, and in which order."""
    order: Literal["drawn", "reversed"] = "drawn"
    shown: Literal["images", "text"] = "images"
    """images: with their pictures, where the family reads several (chat), else as text; text: question and answer."""


class Retrieval(Section):
    """Annotated cases of the training split that are like the one asked about, told in its prompt (docs/retrieval.md).

    None is ever of the same group. The model may learn from such prompts (`train`), or meet them in answering alone.
    """

    index: Path | None = None
    """A folder of `residency index`; null makes one in the run's folder, of what the recipe learns from."""
    k: Literal["auto"] | Annotated[int, Field(ge=0, le=20)] = "auto"
    """How many; auto: 0, 1, 3 or 5, whichever answers the validation split best, the fewest of equals."""
    by: Literal["image", "text", "hybrid"] = "image"
    """What makes cases alike: the image, the question's words, or both ranks fused (1 / (60 + rank), summed)."""
    passages: Annotated[int, Field(ge=0, le=10)] = 0
    """How many passages of the index's documents are told besides."""
    template: str = "{prefix} Similar cases: {cases}."
    """Holds {prefix}, and {cases} or {passages} or both; a question for which nothing is found is asked plainly."""
    case: str = "{answer}"
    """One case in the template: {answer}, {question}, {category}."""
    joint: str = "; "
    """What stands between two cases, or two passages."""
    train: bool = False
    """Train on such prompts, too; with `k: auto` each sample's number is drawn anew among 0, 1, 3 and 5."""

    @model_validator(mode="after")
    def _has_places(self) -> Self:
        told = [name for name in ("{cases}", "{passages}") if name in self.template]
        if self.template.count("{prefix}") != 1 or not told:
            raise ValueError("the template needs {prefix} once, and {cases} or {passages}")
        if self.passages and "{passages}" not in self.template:
            raise ValueError("passages are to be told, but the template has no {passages}")
        return self


class Tiles(Section):
    """How a picture larger than the model reads is answered: whole, in overlapping tiles, and in crops around what the
    model finds (docs/high-resolution.md). Boxes of all views are merged; other answers by `rules`."""

    side: Count | None = None
    """A tile's side in pixels of the picture; null takes twice what the model reads. Pictures not larger stay whole."""
    overlap: Annotated[float, Field(ge=0, lt=0.9)] = 0.25
    """The least share of a tile that its neighbour shows, too; findings up to that size are whole in one tile."""
    grid: bool = True
    """false: no tiles, only the whole and the crops of `zoom`."""
    zoom: Annotated[int, Field(ge=0)] = 0
    """At most so many crops around what the model tells of the whole picture when it is asked `find`."""
    find: str = "<OD>"
    """PaliGemma wants names: `detect femur ; cyst`."""
    rules: dict[str, Annotated[str, Field(pattern=r"^(whole|surest|union|any:.+)$")]] = Field(default_factory=dict)
    """By question id: whole (the default), surest (the surest view's), union (of sets), any:ANSWER (if a view says)."""
    least: Share = 0.0
    """Boxes whose mean token likelihood is below this are left out."""


class Predict(Section):
    """How answers are made: closed ones by likelihood over candidates, the others generated greedily."""

    batch_images: Count = 8
    max_new_tokens: Count = 96
    """The longest answer to one question; with `ask: together` an answer holds as many times more."""
    tiles: Tiles | None = None
    """null: every picture is squeezed to what the model reads."""
    closer: tuple[Annotated[float, Field(gt=1, le=2)], ...] = ()
    """An answer that is one outline or box is told again in crops so many times as wide, and is the median of those
    (1.2, 1.35, 1.5 serve a model that was trained on `residency tile --around`; docs/high-resolution.md)."""
