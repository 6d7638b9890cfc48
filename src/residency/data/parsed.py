"""What a written answer turned out to say: the record every reader returns, and the reading of one number."""

from dataclasses import dataclass, field

from residency.data.quantity import read_age, read_quantity
from residency.data.wording import Layer
from residency.types import Answer, AnswerSpec, Problem, Quantity


@dataclass(frozen=True)
class Parsed:
    """A canonical answer with its sub-answers by id, the layers it took, and the pieces that map to nothing.

    `answer` is None where nothing was understood; a set keeps the members that were.
    """

    answer: Answer | None
    parts: dict[str, Answer] = field(default_factory=dict)
    layers: frozenset[Layer] = frozenset()
    problems: tuple[Problem, ...] = ()
    unmapped: tuple[str, ...] = ()


def read_number(spec: AnswerSpec, text: str, unit: str | None = None) -> Parsed:
    """Read a number in the spec's unit and range; `unit` is a bare number's, where the column's heading names it."""
    wanted = spec.unit or ""
    values = read_quantity(text, wanted, unit)
    if wanted == "weeks" and not values and (days := read_age(text)) is not None:
        values = (days / 7,)
    if not values:
        return failed("unmapped", f"`{text}` is no number in {wanted}", text)
    fitting = [value for value in values if not outside(spec, value)]
    if not fitting:
        return failed("out-of-range", f"`{text}` lies outside {_limits(spec)}", text)
    if len(fitting) > 1:
        said = " or ".join(f"{value:g}" for value in fitting)
        return failed("ambiguous-number", f"`{text}` may be {said} {wanted}", text)
    return Parsed(as_quantity(spec, fitting[0]))


def failed(kind: str, message: str, text: str, near: tuple[str, ...] = ()) -> Parsed:
    """Return what was not understood, as one problem."""
    return Parsed(None, problems=(Problem(kind=kind, message=message, candidates=near),), unmapped=(text,))


def as_quantity(spec: AnswerSpec, value: float) -> Quantity:
    """Return the value in the spec's unit, to six digits."""
    return Quantity(value=float(f"{value:.6g}"), unit=spec.unit or "")


def outside(spec: AnswerSpec, value: float) -> bool:
    """Say whether the value lies outside the spec's range."""
    low, high = spec.minimum, spec.maximum
    return (low is not None and value < low) or (high is not None and value > high)


def _limits(spec: AnswerSpec) -> str:
    low = "" if spec.minimum is None else f"{spec.minimum:g}"
    high = "" if spec.maximum is None else f"{spec.maximum:g}"
    return f"{low} to {high} {spec.unit}"
