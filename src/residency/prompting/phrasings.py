"""A family's name, or a YAML file, in; the ways of asking that a search tries, the plainest first, out."""

from itertools import product
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from residency.asking import Shots
from residency.config import Recipe
from residency.errors import UserError
from residency.section import Section
from residency.types import Record

Words = Annotated[tuple[str, ...], Field(min_length=1)]


class Phrasing(Record):
    """One way of asking: what is said before, the question's template, and solved examples."""

    system: str = ""
    prompt: str = "{prefix}"
    shots: Shots = Shots()

    def told(self) -> str:
        """Return it as lines of a recipe."""
        lines: dict[str, object] = {"prompt": self.prompt}
        lines |= {"system": self.system} if self.system else {}
        lines |= {"shots": self.shots.model_dump(exclude_defaults=True)} if self.shots.count else {}
        return yaml.safe_dump(lines, sort_keys=False, allow_unicode=True, width=1000).rstrip()

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe, asking so."""
        return recipe.model_copy(update={"system": self.system, "prompt": self.prompt, "shots": self.shots})


class Choices(Section):
    """What a search combines: every system's words x template x (no examples; so many, by each seed and order)."""

    systems: Words = ("",)
    prompts: Words = ("{prefix}",)
    shots: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 3)
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1)
    orders: Annotated[tuple[str, ...], Field(min_length=1)] = ("drawn",)
    shown: str = "images"

    def combine(self) -> list[Phrasing]:
        """Return every combination once, the plainest first."""
        made = []
        for count in sorted(set(self.shots)):
            draws = [*product(self.seeds, self.orders)] if count else [(0, "drawn")]
            for (seed, order), system, prompt in product(draws, self.systems, self.prompts):
                shots = {"count": count, "seed": seed, "order": order, "shown": self.shown} if count else {}
                made.append(Phrasing(system=system, prompt=prompt, shots=Shots.model_validate(shots)))
        return list(dict.fromkeys(made))


BRIEF = "{prefix} Answer with a word or a short phrase."
DEFAULTS: dict[str, Choices] = {
    "chat": Choices(
        systems=("", "You are an experienced radiologist. You answer briefly, and only from the image."),
        prompts=("{prefix}", BRIEF, "Question: {prefix} Short answer:"),
    ),
    "llava": Choices(  # the second is what LLaVA-1.5 was trained to read before short answers (arXiv 2310.03744)
        systems=("", "You are an experienced radiologist."),
        prompts=("{prefix}", "{prefix}\nAnswer the question using a single word or phrase.", "Question: {prefix}"),
    ),
    "paligemma": Choices(  # a prompt that names no task becomes `answer en ...` (arXiv 2407.07726)
        prompts=("{prefix}", BRIEF, "answer en In this medical image: {prefix}"),
    ),
    "": Choices(prompts=("{prefix}", BRIEF, "Question: {prefix}", "In this medical image: {prefix}")),
}
"""By family; `llava-next` as llava, others as ''."""


def read_choices(family: str, path: Path | None) -> Choices:
    """Return what to combine: a YAML file's keys, what it leaves out being the family's defaults.

    Raises:
        UserError: the file cannot be read, or holds an unknown key or an empty list.
    """
    defaults = DEFAULTS.get(family.partition("-")[0], DEFAULTS[""])
    if path is None:
        return defaults
    try:
        named = yaml.safe_load(path.read_text(encoding="utf-8"))
        choices = Choices.model_validate(defaults.model_dump() | dict(named))
        choices.combine()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else str(path)
        allowed = "systems, prompts, shots, seeds, orders: lists; shown: images or text"
        raise UserError(f"{path} names no ways of asking", found=f"{where}: {found}", allowed=allowed) from None
    return choices
