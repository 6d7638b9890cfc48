"""A recipe's prompt template and a sample in, the prompt out; what a sample lacks is an error, never an empty place."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from PIL import Image

from residency.errors import UserError
from residency.types import Problem, Sample


class Wording(Protocol):
    """How a question is put: what stands before it, and its template."""

    @property
    def system(self) -> str:
        """Words before the question that say who answers, and how."""

    @property
    def prompt(self) -> str:
        """The question's template."""


def word_whole(
    wording: Wording, sample: Sample, word: Callable[[str], str] = str, say: Callable[[str], str] = str
) -> str:
    """Return a prompt as words alone, a line each: the system's, a sample's solved examples, its question.

    `word` puts a question into the family's words, `say` an answer.
    """
    solved = [f"{word(render_prompt(wording.prompt, shot))} {say(shot.suffix or '')}" for shot in sample.shots]
    asked = word(render_prompt(wording.prompt, sample))
    return "\n".join([*([wording.system] if wording.system else []), *solved, asked])


def render_prompt(template: str, sample: Sample) -> str:
    """Fill a recipe's prompt template from a sample; what a sample lacks is an error, never an empty place.

    Raises:
        UserError: the template names what the sample lacks, or is no template.
    """
    question = tell_question(sample)
    fields: dict[str, Any] = {"prefix": question, "columns": sample.columns, "attributes": sample.attributes}
    if sample.category:
        fields["category"] = sample.category
    if sample.spacing_mm:
        fields["spacing_mm"] = f"{sum(sample.spacing_mm) / 2:.4f}"
        if "{field_mm}" in template:
            fields["field_mm"] = tell_field(*span_image(sample.image, sample.spacing_mm))
    try:
        return template.format(**fields)
    except KeyError as error:
        fault = f"sample {sample.id} has no {error.args[0]}"
    except (IndexError, ValueError, AttributeError, TypeError) as error:
        fault = str(error)
    raise UserError(f"the prompt `{template}` cannot be filled", found=fault, allowed=prompt_fields([sample]))


def tell_question(sample: Sample) -> str:
    """Return the question as asked, with what was retrieved for it before and after."""
    return f"{sample.context.before}{sample.prefix}{sample.context.after}" if sample.context else sample.prefix


def tell_field(width_mm: float, height_mm: float) -> str:
    """Return the words for what a picture spans: to a squeezed picture, pixel spacing alone tells no size."""
    return f"{width_mm:.0f} x {height_mm:.0f}"


def span_image(image: str, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Return a picture's width and height in mm; only its header is read."""
    down_mm, across_mm = spacing_mm
    with Image.open(image) as file:
        width, height = file.size
    return width * across_mm, height * down_mm


def prompt_fields(samples: Iterable[Sample]) -> list[str]:
    """Return what a prompt template may name, given what these samples hold."""
    columns, attributes, plain = set[str](), set[str](), {"{prefix}"}
    for sample in samples:
        columns |= sample.columns.keys()
        attributes |= sample.attributes.keys()
        plain |= ({"{category}"} if sample.category else set()) | (
            {"{spacing_mm}", "{field_mm}"} if sample.spacing_mm else set()
        )
    return [
        *sorted(plain),
        *(f"{{columns[{name}]}}" for name in sorted(columns)),
        *(f"{{attributes[{name}]}}" for name in sorted(attributes)),
    ]


def find_unfilled(template: str, samples: Sequence[Sample]) -> list[Problem]:
    """Return a problem for each sample whose prompt cannot be filled.

    Raises:
        UserError: it can be filled for none: the template itself is wrong.
    """
    problems = []
    for sample in samples:
        try:
            render_prompt(template, sample)
        except UserError as error:
            problems.append(Problem(kind="no-prompt", message=str(error.found), source=sample.source))
    if problems and len(problems) == len(samples):
        raise UserError(
            f"the prompt `{template}` cannot be filled for any sample",
            found=problems[0].message,
            allowed=prompt_fields(samples),
            do="mend `prompt` in the recipe; a column must be in the sheet when it is ingested",
        )
    return problems
