"""The user's paths in, what lies there out: tables or lines, and the questions that are asked."""

from dataclasses import dataclass, field
from pathlib import Path

from residency.data.draft import draft_questionnaire
from residency.data.jsonl import Line, questions_of, read_jsonl
from residency.data.reports import image_folder, is_report_folder, list_lines, read_reports
from residency.data.sheet import Table, read_sheet, read_source
from residency.errors import CheckFailed, UserError
from residency.files import write_text
from residency.questionnaire import load_questionnaire
from residency.types import Problem, Questionnaire


@dataclass
class Material:
    """What an ingest starts from: the questions, and the tables of a sheet or lines."""

    questionnaire: Questionnaire
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
        lines, problems = read_reports(images)
        return _of_lines(lines, problems, images, given)
    if sheet.suffix.lower() == ".jsonl":
        lines, problems = read_jsonl(sheet)
        return _of_lines(lines, problems, sheet, given)
    tables, flags = read_sheet(sheet)
    if given is None:
        raise _drafted(tables, out)
    return Material(given, tables=tables, flags=flags)


def source_files(sheet: Path | None, images: Path) -> list[Path]:
    """Return the files that hold the answers.

    Raises:
        UserError: a sheet that cannot be opened.
    """
    if sheet is None:
        return list_lines(images) if images.is_dir() else []
    read_source(sheet)
    return [sheet]


def images_of(sheet: Path | None, images: Path) -> Path:
    """Return where the images lie: the folder named, or a report folder's own."""
    return images if sheet is not None else image_folder(images)


def _of_lines(lines: list[Line], problems: list[Problem], source: Path, given: Questionnaire | None) -> Material:
    if not lines:
        if problems:
            raise CheckFailed("ingest", problems)
        raise UserError(f"{source} holds no lines", allowed='{"image": ..., "prefix": ..., "suffix": ...}')
    return Material(questions_of(lines, given), lines=lines, problems=problems)


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
