"""The user's paths in, what lies there out: tables or lines, and the questions that are asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from residency.data.draft import draft_questionnaire
from residency.data.index import ENDINGS
from residency.data.jsonl import questions_of, read_jsonl
from residency.data.lines import Line, Place, Reading
from residency.data.reports import image_folder, is_report_folder, list_lines, read_reports
from residency.data.sheet import Table, read_sheet, read_source
from residency.data.sources.boxes import DETECTION
from residency.data.sources.formats import FORMATS, find_format, list_formats
from residency.dicom.folder import holds_dicom
from residency.errors import CheckFailed, UserError
from residency.files import write_text
from residency.questionnaire import load_questionnaire
from residency.types import Problem, Questionnaire, SplitName

BOXED = ("voc", "coco", "yolo", "boxes")
"""Layouts of boxes, which may lie beside a sheet of answers."""


@dataclass
class Material:
    """What an ingest starts from: the questions, and the tables of a sheet or lines.

    `taken` says what the fields of lines were taken for; `whole` that each image should have a line; `splits` are
    published ones by image file.
    """

    questionnaire: Questionnaire
    tables: list[Table] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    flags: list[Problem] = field(default_factory=list)
    taken: tuple[str, ...] = ()
    whole: bool = False
    splits: Mapping[str, SplitName] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """The user's sheet and folder as they were named, the published layout found there (None: none), and its place."""

    sheet: Path | None
    layout: str | None
    place: Place
    boxes: "Origin | None" = None
    """Boxes that lie beside a sheet, in a layout of their own."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read but the images."""
        return self.place.files + (self.boxes.place.files if self.boxes else ())


def find_origin(
    sheet: Path | None, images: Path, format: str = "auto", questions: Sequence[str] = (), labels: Sequence[str] = ()
) -> Origin:
    """Find out what lies where the user says: a published layout, else a sheet, lines or a report folder.

    Raises:
        UserError: a sheet that cannot be opened, nothing that can be read, or nothing of the format named.
    """
    if (questions or labels) and format == "auto":
        format = "labels" if questions else "masks"
    plain = format == "auto" and (is_report_folder(images) if sheet is None else sheet.suffix.lower() == ".jsonl")
    if not plain and (found := find_format(format, sheet, images)):
        name, place = found
        return Origin(sheet, name, replace(place, questions=tuple(questions), labels=tuple(labels)))
    if sheet is not None:
        read_source(sheet)
        return Origin(sheet, None, Place((sheet,), images))
    if images.is_dir() and not is_report_folder(images) and holds_dicom(images, ENDINGS):
        return Origin(None, None, Place((), images))
    if images.is_dir() and not is_report_folder(images):
        raise UserError(
            f"{images} holds nothing that is read without a sheet, and no sheet was named",
            allowed=["--sheet answers.xlsx", "a folder with images/ and train.jsonl", "a published layout (--format)"],
            do=f"name your file with --sheet, or lay the folder out as one of these:\n{list_formats()}",
        )
    return Origin(sheet, None, Place(tuple(list_lines(images)), image_folder(images)))


def beside_boxes(origin: Origin, boxes: Path | None) -> Origin:
    """Return the origin with boxes in a file or folder beside its sheet.

    Raises:
        UserError: what is named holds no boxes in a layout that is known.
    """
    if boxes is None:
        return origin
    if not boxes.exists():
        raise UserError(f"no boxes at {boxes}", found="nothing there", do="name a file or folder with --boxes")
    found = find_format("auto", boxes, origin.place.images)
    if found is None or found[0] not in BOXED:
        held = {name: FORMATS[name].HOLDS for name in BOXED}
        raise UserError(f"{boxes} holds no boxes", found=found[0] if found else "no layout that is known",
                        allowed=[f"{name}: {what}" for name, what in held.items()])  # fmt: skip
    return replace(origin, boxes=Origin(boxes, *found))


def read_material(origin: Origin, images: Path, questionnaire: str | None, out: Path) -> Material:
    """Read what the user named; boxes that lie beside a sheet are asked for beside its questions.

    Raises:
        UserError: a file cannot be read; or no questionnaire was named, and a draft of one was written beside `out`.
        CheckFailed: no line can be used.
    """
    material = _read_material(origin, images, questionnaire, out)
    if origin.boxes and origin.boxes.layout:
        reading = FORMATS[origin.boxes.layout].read(origin.boxes.place)
        material.lines = [*material.lines, *reading.lines]
        material.problems += reading.problems
        material.flags += reading.flags
        material.taken += reading.taken
        asked = material.questionnaire.questions
        if DETECTION.id not in {question.id for question in asked}:
            material.questionnaire = material.questionnaire.model_copy(update={"questions": (*asked, DETECTION)})
    return material


def _read_material(origin: Origin, images: Path, questionnaire: str | None, out: Path) -> Material:
    """Read an answer sheet, a file of lines, (without a sheet) a report folder, or a published layout."""
    given = load_questionnaire(questionnaire) if questionnaire else None
    sheet = origin.sheet
    if origin.layout:
        reading = FORMATS[origin.layout].read(replace(origin.place, questionnaire=given))
        if given and reading.questionnaire and reading.questionnaire.name != given.name:
            raise UserError(f"{origin.layout} has questions of its own", do="leave --questionnaire out")
        return _of_lines(reading, origin.place.files[0], given)
    if sheet is None and not origin.place.files:
        if given is None:
            what = "DICOM files without a sheet become a dataset without answers"
            raise UserError(what, do="say what will be asked: --questionnaire fetal8")
        return Material(given)
    if sheet is None:
        lines, problems = read_reports(images)
        return _of_lines(Reading(lines, problems), images, given)
    if sheet.suffix.lower() == ".jsonl":
        lines, problems = read_jsonl(sheet)
        return _of_lines(Reading(lines, problems), sheet, given)
    tables, flags = read_sheet(sheet)
    if given is None:
        raise _drafted(tables, out)
    return Material(given, tables=tables, flags=flags)


def _of_lines(reading: Reading, source: Path, given: Questionnaire | None) -> Material:
    if not reading.lines and not reading.tables:
        if reading.problems:
            raise CheckFailed("ingest", reading.problems)
        raise UserError(f"{source} holds no lines", allowed='{"image": ..., "prefix": ..., "suffix": ...}')
    return Material(
        reading.questionnaire or questions_of(reading.lines, given),
        lines=reading.lines,
        problems=reading.problems,
        flags=reading.flags,
        taken=reading.taken,
        whole=reading.whole,
        tables=reading.tables,
        splits=reading.splits,
    )


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
