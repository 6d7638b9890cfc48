"""The user's paths in, what lies there out: tables or lines, where the images are, and the questions that are asked."""

from dataclasses import dataclass, field
from pathlib import Path

from residency.data.draft import draft_questionnaire
from residency.data.jsonl import Line, questions_of, read_jsonl
from residency.data.reports import image_folder, is_report_folder, read_reports
from residency.data.sheet import Table, read_sheet
from residency.errors import CheckFailed, UserError
from residency.files import write_text
from residency.questionnaire import load_questionnaire
from residency.types import Problem, Questionnaire


@dataclass
class Material:
    """What an ingest starts from: tables of a sheet, or lines; `files` are those that were read."""

    images: Path
    questionnaire: Questionnaire
    files: list[Path]
    tables: list[Table] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    flags: list[Problem] = field(default_factory=list)


def read_material(sheet: Path | None, images: Path, questionnaire: str | None, out: Path) -> Material:
    """Read an answer sheet, a file of lines, or (without a sheet) a report folder.

    Raises:
        UserError: a file cannot be read; or no questionnaire was named, and a draft of one was written beside `out`.
        CheckFailed: no line can be used.
    """
    given = load_questionnaire(questionnaire) if questionnaire else None
    if sheet is None and not is_report_folder(images):
        raise UserError(
            f"{images} holds no lines of reports, and no sheet was named",
            allowed=["--sheet answers.xlsx", "a folder with images/ and train.jsonl"],
        )
    if sheet is None:
        lines, problems, files = read_reports(images)
        return _of_lines(lines, problems, files, image_folder(images), given)
    if sheet.suffix.lower() == ".jsonl":
        lines, problems = read_jsonl(sheet)
        return _of_lines(lines, problems, [sheet], images, given)
    tables, flags = read_sheet(sheet)
    if given is None:
        raise _drafted(tables, out)
    return Material(images, given, [sheet], tables=tables, flags=flags)


def _of_lines(
    lines: list[Line], problems: list[Problem], files: list[Path], images: Path, given: Questionnaire | None
) -> Material:
    if not lines:
        if problems:
            raise CheckFailed("ingest", problems)
        raise UserError(f"{files[0]} holds no lines", allowed='{"image": ..., "prefix": ..., "suffix": ...}')
    return Material(images, questions_of(lines, given), files, lines=lines, problems=problems)


def _drafted(tables: list[Table], out: Path) -> UserError:
    """Write a draft questionnaire beside `out` (never over an older one) and return the error that says so."""
    draft = draft_questionnaire(tables)
    path = out.parent / f"{out.name}.questionnaire.yaml"
    if path.exists():
        what = f"no questionnaire was named; the draft {path} is there already"
    else:
        write_text(path, draft)
        what = f"no questionnaire was named; a draft was made from the sheet: {path}"
    do = f"edit it, then run the same command with --questionnaire {path} (or --questionnaire fetal8)"
    return UserError(what, do=do, exit_code=1)
