"""What every source of samples hands on: lines of an image, a prompt and an answer, with what was wrong on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from residency.data.places import Mark
from residency.data.quantity import plain_text
from residency.data.sheet import Table, cell_text
from residency.types import Option, Problem, Question, Questionnaire, Source, SplitName

EACH_ASKS = "As each line asks."
"""The wording of a question whose every sample is asked in its own words."""
YES_OR_NO = Question(id="closed", type="choice", wording=EACH_ASKS, options=(Option(name="yes"), Option(name="no")))
IN_WORDS = Question(id="open", type="text", wording=EACH_ASKS)


@dataclass(frozen=True)
class Line:
    """One line: where it stands, its keys, the split that its source names, the question it answers if that is known.

    `marks` are boxes and outlines as the source gives them: what the answer tells where `values` has no suffix.
    `size` is the picture's (width, height) as the source says, `spacing_mm` (row, column) mm a pixel. `labelled` marks
    are told with their labels; those whose prompt names the label are not.
    """

    source: Source
    values: Mapping[str, object]
    split: SplitName | None = None
    question: str | None = None
    marks: tuple[Mark, ...] | None = None
    size: tuple[int, int] | None = None
    labelled: bool = True
    spacing_mm: tuple[float, float] | None = None

    def text(self, key: str) -> str:
        """Return a value as plain text, '' where it is missing."""
        value = self.values.get(key)
        return plain_text(cell_text(value) if isinstance(value, str | int | float) else "")


@dataclass
class Reading:
    """What a source's files hold: lines, or tables that are read as answer sheets are.

    `taken` says what each field of the lines was taken for; `splits` are published ones, by image file.

    `questionnaire` is None where the lines' prompts make one up. `whole` says that each image should have a line.
    """

    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    flags: list[Problem] = field(default_factory=list)
    questionnaire: Questionnaire | None = None
    taken: tuple[str, ...] = ()
    whole: bool = False
    tables: list[Table] = field(default_factory=list)
    splits: Mapping[str, SplitName] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a source lies: the files that hold its answers, and the folder of its images.

    `questions` (`COLUMN: WORDS`), `questionnaire` and `labels` (`LEVEL: LABEL`) are what the user says. `unpacked`: the
    images lay within the files; they were written out to become part of the dataset. `only` is what the file names of
    images must match (a regular expression), where other pictures lie beside them.
    """

    files: tuple[Path, ...]
    images: Path
    questions: tuple[str, ...] = ()
    questionnaire: Questionnaire | None = None
    labels: tuple[str, ...] = ()
    only: str = ""
    unpacked: bool = False
