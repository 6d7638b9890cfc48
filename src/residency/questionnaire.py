"""The questionnaire: YAML in, typed questions out; and a canonical answer's one text form, used as training target."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from residency.errors import UserError
from residency.types import Answer, Quantity, Question, Questionnaire


def shipped_questionnaires() -> tuple[str, ...]:
    """Return the names of the questionnaires that come with Residency."""
    folder = files("residency") / "questionnaires"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")))


ABSTENTION = "cannot be judged from this image"
"""What a model is trained to say where it was judged unable to know."""


def is_abstention(text: str) -> bool:
    """Tell whether an answer says that the image does not tell."""
    return fold_text(text) == ABSTENTION


@cache
def load_questionnaire(name: str) -> Questionnaire:
    """Return a shipped questionnaire by name (`fetal8`) or one from a YAML file by path.

    Raises:
        UserError: neither a shipped name nor a readable file, or a file that is not a questionnaire.
    """
    if name in shipped_questionnaires():
        text = (files("residency") / "questionnaires" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"no questionnaire {name}",
                found=error.strerror,
                allowed=[*shipped_questionnaires(), "a YAML file"],
                do="leave --questionnaire out, and a draft is written for you to edit",
            ) from None
    return read_questionnaire(text, name)


def read_questionnaire(text: str, name: str) -> Questionnaire:
    """Parse a questionnaire from YAML; options may be plain strings or `{name, synonyms}`.

    Raises:
        UserError: it is not YAML or not a questionnaire; every fault is listed with its place.
    """
    try:
        return Questionnaire.model_validate(_with_named_options(yaml.safe_load(text)))
    except yaml.YAMLError as error:
        raise UserError(f"the questionnaire {name} is not YAML", found=error) from None
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}" for issue in error.errors()]
        raise UserError(f"the questionnaire {name} is not valid:\n  " + "\n  ".join(faults)) from None


def dump_questionnaire(questionnaire: Questionnaire) -> str:
    """Return the questionnaire as YAML that `read_questionnaire` takes back."""
    return yaml.safe_dump(
        questionnaire.model_dump(mode="json", exclude_defaults=True),
        sort_keys=False,
        allow_unicode=True,
        width=110,
    )


def render_answer(
    question: Question, answer: Answer, parts: Mapping[str, Answer] | None = None, *, exact: bool = False
) -> str:
    """Return the text of a canonical answer: what a model is trained to say and what is parsed back.

    A set is joined by `, `; a measured member carries its number (`femur length 32 mm`); other sub-answers follow
    in brackets (`8-13 weeks (12 weeks 4 days)`, `medium image quality (shadowing, low gain)`). Numbers have three
    significant digits, or all of theirs where the text is to be `exact`.
    """
    parts = dict(parts or {})
    if isinstance(answer, tuple):
        members = [_measured(name, parts.pop(f"{question.id}.{name}", None), exact) for name in answer]
        text = ", ".join(members) if members else "none"
    else:
        text = render_value(answer, exact=exact)
    rest = [
        render_value(parts[spec.id], exact=exact)
        for spec in question.parts
        if spec.id in parts and parts[spec.id] != ()
    ]
    return f"{text} ({'; '.join(rest)})" if rest else text


def render_value(value: Answer, *, exact: bool = False) -> str:
    """Return the text of one value, numbers as `render_answer` says; weeks are said in completed weeks and days."""
    if isinstance(value, Quantity):
        if value.unit == "weeks":
            days = round(value.value * 7)
            return f"{days // 7} weeks {days % 7} days"
        return f"{_render_number(value.value, exact)} {value.unit}"
    return ", ".join(value) if isinstance(value, tuple) else value


def _render_number(number: float, exact: bool) -> str:
    """Return all digits, or three significant ones and whole units always; never an exponent, which no sheet holds."""
    text = repr(number) if exact else f"{number:.3g}" if abs(number) < 999.5 else f"{number:.0f}"
    return format(Decimal(text), "f")


def _measured(name: str, quantity: Answer | None, exact: bool) -> str:
    return name if quantity is None else f"{name} {render_value(quantity, exact=exact)}"


def _with_named_options(values: object) -> object:
    if isinstance(values, dict):
        return {
            key: [{"name": str(item)} if not isinstance(item, dict) else item for item in value]
            if key in ("options", "categories") and isinstance(value, list)
            else _with_named_options(value)
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [_with_named_options(item) for item in values]
    return values


def fold_text(text: str) -> str:
    """Return text as it is compared: lower case, one space, no closing full stop, hyphens as spaces."""
    return re.sub(r"[\s\-_/]+", " ", text.casefold()).strip(" .;,")
