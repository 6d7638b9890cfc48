"""An evaluated run in, the model card `adapter/README.md` out: what it is, what it scored, what it is not for."""

import json
from pathlib import Path

from residency import NOT_FOR_DIAGNOSIS, __version__
from residency.files import write_text
from residency.report.page import Shown, read_shown
from residency.report.plain import answer_plainly
from residency.report.selftrained import tell_self_training
from residency.report.view import show_blocks, show_overview


def write_card(run: Path, data: Path | None = None) -> Path:
    """Write the model card of an evaluated run into its adapter folder (each fold's, where there are folds).

    Raises:
        UserError: the run has not been evaluated.
    """
    shown = read_shown(run, data)
    text = render_card(shown)
    folders = [folder for folder in (run, *sorted(run.glob("fold-*"))) if (folder / "adapter").is_dir()] or [run]
    for folder in folders:
        write_text(folder / "adapter" / "README.md", text)
    return folders[0] / "adapter" / "README.md"


def render_card(shown: Shown) -> str:
    """Return the card as Markdown with the metadata block that model hubs read."""
    examination, recipe = shown.examination, shown.recipe
    base = recipe.model if recipe else "unknown"
    rows = [
        f"| {line.question.id} {_cell(line.question.heading)} | {line.metric} | {line.value} | "
        + " | ".join(word for _, word in line.outcomes)
        + " |"
        for line in show_overview(examination, show_blocks(examination))
    ]
    warnings = [
        f"- {warned.question + ': ' if warned.question else ''}{warned.message}" for warned in examination.warnings
    ]
    return "\n".join(
        [
            "---",
            "library_name: peft",
            f"base_model: {json.dumps(base)}",
            "tags: [residency, medical-imaging, research-only]",
            "---",
            f"# {examination.run}",
            "",
            f"**{NOT_FOR_DIAGNOSIS}**",
            "",
            " ".join(
                (
                    f"An adapter for `{base}`, trained with Residency {__version__}.",
                    *tell_self_training(shown.self_training),
                )
            ),
            "",
            "## What it can answer",
            " ".join(answer_plainly(examination)),
            "",
            "| question | score | tuned model [95% interval] | against majority | against blind | against base |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "## Before you use it",
            *(warnings or ["- No warnings."]),
            "- Scores hold for images like those it was examined on: the same machines, operators and patients.",
            "- It answers the questions above and no others, and it does not say when it cannot know.",
            "",
            "## How it was examined",
            f"{examination.split} split, {examination.folds} fold(s), intervals from {examination.draws} resamples of "
            "whole groups (patients).",
            f"Data {examination.hashes.samples[:12]}, code {examination.hashes.code[:12]}, "
            f"metric version {examination.hashes.metric_version}.",
            "",
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
