"""A run's recipe, preflight and examination in; its warnings in the order a reader needs them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from residency.config import Recipe
from residency.evaluate.records import Examination

Gravity = Literal["grave", "serious", "mild"]
GRAVE = {"leak", "does-not-look", "prompt-leak", "published-leak", "preflight-failed", "dataset-changed"}
MILD = {"audit", "floor-not-run", "no-truth", "one-class"}
ACCEPTED = {
    "prompt-leak": "the words of the question alone may answer it (accepted risk `prompt-leak`)",
    "group-by-image": "patients are unknown, so images of one patient may stand in training and test alike "
    "(accepted risk `group-by-image`); every score may be too high",
    "unknown-group": "images without answers whose patient is unknown were trained on with the model's own answers; "
    "they may show patients of the test (accepted risk `unknown-group`), so every score may be too high",
    "published-leak": "images of the published test split were trained on as well (accepted risk `published-leak`): "
    "the scores tell nothing of new images",
}


@dataclass(frozen=True)
class Caution:
    """One warning as shown; several questions with the same one are joined."""

    gravity: Gravity
    message: str


def gather_cautions(
    recipe: Recipe | None,
    preflights: Sequence[Mapping[str, Any]],
    audit: Mapping[str, Any],
    examination: Examination,
    changed: bool,
) -> list[Caution]:
    """Return every warning, the gravest first; `audit` is the dataset's audit.json (empty: there is none)."""
    found: list[tuple[str, str]] = []
    if changed:
        found.append(("dataset-changed", "The dataset is no longer the one that was examined: evaluate again."))
    found += [("prompt", message) for message in _prompts(recipe)]
    found += [(risk, f"Accepted risk: {ACCEPTED.get(risk, risk)}.") for risk in (recipe.accept if recipe else ())]
    found += _audit(audit)
    for preflight in preflights:
        found += _preflight(preflight)
    names = {q.id: q.id if q.is_part else f"{q.id} {q.heading}" for q in examination.questions}
    for warned in examination.warnings:
        place = f"{names.get(warned.question, warned.question)}: " if warned.question else ""
        found.append((warned.kind, place + warned.message))
    cautions = [Caution(_gravity(kind), message) for kind, message in dict.fromkeys(found)]
    order: list[Gravity] = ["grave", "serious", "mild"]
    return sorted(cautions, key=lambda caution: order.index(caution.gravity))


def _gravity(kind: str) -> Gravity:
    return "grave" if kind in GRAVE else "mild" if kind in MILD else "serious"


def _prompts(recipe: Recipe | None) -> list[str]:
    if recipe is None:
        return []
    named = [name for _, name, _, _ in Formatter().parse(recipe.prompt) if name and name != "prefix"]
    if not named:
        return []
    return [f"The prompt tells the model more than the question: {', '.join(named)} (template `{recipe.prompt}`)."]


def _audit(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if leaks := audit.get("leaks"):
        found.append(("leak", f"The dataset's audit found {len(leaks)} overlap(s) between its splits."))
    if (audit.get("history") or {}).get("group_by") == "image":
        found.append(("group-by-image", f"Accepted risk: {ACCEPTED['group-by-image']}."))
    return found + [("audit", f"Audit: {warning}") for warning in audit.get("warnings") or ()]


def _preflight(preflight: Mapping[str, Any]) -> list[tuple[str, str]]:
    failed = [
        ("preflight-failed", f"Preflight check failed: {check.get('name')}: {check.get('detail', '')}")
        for check in preflight.get("checks", [])
        if check.get("passed") is False
    ]
    leak = preflight.get("prompt_leak") or {}
    if isinstance(leak, Mapping) and (leak.get("leaks") or leak.get("leak") or leak.get("passed") is False):
        shown = ", ".join(f"{key} {value}" for key, value in leak.items() if not isinstance(value, bool))
        failed.append(("prompt-leak", f"The words of the prompt alone predict the answers: {shown}."))
    return failed
