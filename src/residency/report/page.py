"""A run folder with its scores in, one self-contained `report.html` out."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from residency import NOT_FOR_DIAGNOSIS
from residency.config import Recipe
from residency.data.dataset import Dataset, load_dataset
from residency.errors import UserError
from residency.evaluate.abstain import Abstention
from residency.evaluate.claims.measure import ClaimReport
from residency.evaluate.examine import load_examination
from residency.evaluate.read import run_folders
from residency.evaluate.records import Examination, Mark
from residency.files import read_json, read_lines, sha256_file, write_text
from residency.knowledge.adapt import FACTS, Adapted
from residency.knowledge.calibration import NAME, Calibration
from residency.recipe import load_recipe
from residency.report.cases import show_cases
from residency.report.caution import gather_cautions
from residency.report.certainty import draw_differences, draw_question_gaps, draw_reliability, draw_subgroups
from residency.report.figures import draw_curves
from residency.report.gallery import pick_cards
from residency.report.methods import tell_methods
from residency.report.places import show_places
from residency.report.plain import answer_plainly
from residency.report.selftrained import tell_self_training
from residency.report.unable import show_unable
from residency.report.view import flatten, show_blocks, show_categories, show_overview, show_subsets

PACKAGES = ("residency", "torch", "transformers", "peft", "scikit-learn", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class Shown:
    """All that the page is made of, as read from the run and its dataset (None: not there)."""

    run: Path
    recipe: Recipe | None
    recipe_text: str
    examination: Examination
    marks: tuple[Mark, ...]
    dataset: Dataset | None
    audit: Mapping[str, Any]
    preflights: tuple[Mapping[str, Any], ...]
    metrics: tuple[tuple[dict[str, Any], ...], ...]
    changed: bool
    self_training: tuple[Mapping[str, Any], ...]
    claims: ClaimReport | None = None
    abstentions: tuple[Abstention, ...] = ()
    adapted: Adapted | None = None
    calibrations: tuple[Calibration | None, ...] = ()


def write_report(run: Path, data: Path | None = None) -> Path:
    """Write the page of an evaluated run into it and return its path.

    Raises:
        UserError: the run has not been evaluated.
    """
    shown = read_shown(run, data)
    write_text(run / "report.html", render_page(shown))
    return run / "report.html"


def read_shown(run: Path, data: Path | None = None) -> Shown:
    """Read what a run holds; only the scores are required.

    Raises:
        UserError: the run has not been evaluated.
    """
    examination = load_examination(run)
    if examination is None:
        raise UserError(f"{run} has no scores", do=f"residency evaluate {run}")
    folders = run_folders(run)
    config = next((file for folder in (run, *folders) if (file := folder / "config.yaml").is_file()), None)
    recipe = load_recipe(config) if config else None
    found = [path for path in (data, recipe.data if recipe else None) if path and (path / "samples.jsonl").is_file()]
    marks = run / "scores" / "marks.jsonl"
    changed = bool(found) and sha256_file(found[0] / "samples.jsonl") != examination.hashes.samples
    return Shown(
        run=run,
        recipe=recipe,
        recipe_text=config.read_text(encoding="utf-8") if config else "",
        examination=examination,
        marks=tuple(read_lines(marks, Mark)) if marks.is_file() else (),
        dataset=load_dataset(found[0]) if found else None,
        audit=_read_json(found[0] / "audit.json") if found else {},
        preflights=tuple(_read_json(folder / "preflight.json") for folder in folders),
        metrics=tuple(_read_metrics(folder / "metrics.jsonl") for folder in folders),
        changed=changed,
        self_training=tuple(_read_json(folder / "selftraining.json") for folder in folders),
        claims=read_json(claims, ClaimReport) if (claims := run / "scores" / "claims.json").is_file() else None,
        abstentions=tuple(read_json(at, Abstention) for at in sorted((run / "scores").glob("abstention*.json"))),
        adapted=read_json(found[0] / FACTS, Adapted) if found and (found[0] / FACTS).is_file() else None,
        calibrations=tuple(_read_calibration(folder / "predictions" / NAME) for folder in folders),
    )


def render_page(shown: Shown) -> str:
    """Return the page as HTML; nothing outside it is referred to, and all text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("residency.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    examination = shown.examination
    blocks = show_blocks(examination)
    category_questions, category_rows = show_categories(examination)
    return environment.get_template("report.html.j2").render(
        shown=shown,
        examination=examination,
        recipe=shown.recipe,
        not_for_diagnosis=NOT_FOR_DIAGNOSIS,
        plain=answer_plainly(examination),
        cautions=gather_cautions(shown.recipe, shown.preflights, shown.audit, examination, shown.changed),
        overview=show_overview(examination, blocks),
        blocks=blocks,
        place_tables={told.question.id: told for told in show_places(examination)},
        category_questions=category_questions,
        category_rows=category_rows,
        subset_rows=show_subsets(examination),
        differences=draw_differences(examination),
        reliability=draw_reliability(examination.confidence) if examination.confidence else None,
        subgroup_chart=draw_subgroups(examination.subgroups),
        gap_chart=draw_question_gaps(examination),
        abstentions=[one for one in shown.abstentions if one.hashes.predictions == examination.hashes.predictions],
        claims=shown.claims,
        claims_changed=shown.claims is not None and shown.claims.hashes.predictions != examination.hashes.predictions,
        methods=tell_methods(examination, shown.recipe, shown.claims),
        curves=draw_curves(shown.metrics),
        cards=pick_cards(shown.marks, examination.questions, shown.dataset, examination.seed),
        preflight=_proofs(shown.preflights),
        parts=_parts(shown.preflights),
        self_training=tell_self_training(shown.self_training),
        unable=show_unable(shown.adapted) if shown.adapted else None,
        cases=show_cases(examination, shown.recipe, shown.calibrations),
        audit=flatten(shown.audit),
        versions=_versions(),
        commands=_commands(shown),
    )


def _proofs(preflights: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first fold's checks, decoded labels and memory; what a preflight does not hold is empty."""
    first = preflights[0] if preflights else {}
    checks = [{"name": "", "passed": False, "detail": ""} | dict(check) for check in first.get("checks") or ()]
    labels = [list(row.values()) if isinstance(row, Mapping) else [row] for row in first.get("labels") or ()]
    return {"checks": checks, "labels": labels, "memory_mb": first.get("memory_mb")}


def _parts(preflights: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return each part of the model with its trained and its whole number of weights."""
    parameters = preflights[0].get("parameters", {}) if preflights else {}
    rows = []
    for part, counts in (parameters.get("by_part") or {}).items():
        both = counts if isinstance(counts, Mapping) else {"trainable": counts}
        rows.append((part, *(f"{both[key]:,}" if key in both else "" for key in ("trainable", "total"))))
    if "trainable" in parameters:
        rows.append(("all", f"{parameters['trainable']:,}", f"{parameters.get('total', 0):,}"))
    return rows


def _commands(shown: Shown) -> list[str]:
    run = shown.run
    config = next(
        (folder / "config.yaml" for folder in (run, *run_folders(run)) if (folder / "config.yaml").is_file()), run
    )
    fold = " fold=all" if shown.examination.folds > 1 else ""
    return [
        f"pip install residency=={shown.examination.hashes.version}",
        f"residency train {config}{fold}",
        f"residency evaluate {run}",
        f"residency report {run}",
    ]


def _versions() -> list[tuple[str, str]]:
    found = [("python", sys.version.split()[0])]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return found


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {"listed": value}


def _read_calibration(path: Path) -> Calibration | None:
    return read_json(path, Calibration) if path.is_file() else None


def _read_metrics(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the logged lines; a last line that a crash cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if lines and not lines[-1].rstrip().endswith("}"):
        lines.pop()
    return tuple(json.loads(line) for line in lines if line.strip())
