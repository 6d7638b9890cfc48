"""Tables and a frame in, samples out, with every problem, flag and change on the way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from functools import lru_cache

from residency.data.columns import Column, by_role, match_columns, name_from
from residency.data.frame import Frame, Gathered, check_grouping, folder_category, pattern_group
from residency.data.index import ImageIndex
from residency.data.normalize import AnswerReader, answer_reader
from residency.data.parsed import Parsed
from residency.data.quantity import plain_text, read_numbers
from residency.data.sheet import Table, Value, cell_text
from residency.data.wording import Layer, Lexicon
from residency.errors import UserError
from residency.types import Problem, Question, Sample, Source

_NAMES_IMAGES = 0.8
_ATTRIBUTES = ("patient", "study", "machine", "site", "age", "sex")
Note = tuple[Source, str, str, str, frozenset[Layer]]


def read_tables(tables: Sequence[Table], frame: Frame) -> Gathered:
    """Read every row of every table that names images.

    Raises:
        UserError: no table has a column of images, or one lacks the column that groups.
    """
    gathered = Gathered()
    matched = []
    for table in tables:
        columns, problems = match_columns(table, frame.questionnaire)
        matched.append((table, _with_images(table, columns, frame.index), problems))
    usable = [(table, columns, problems) for table, columns, problems in matched if "image" in by_role(columns)]
    if not usable:
        raise UserError(
            f"{tables[0].file} has no column of image names",
            found=[" ".join(heading.split())[:40] for heading in tables[0].headings.values()],
            do="head that column with Image",
        )
    for table, columns, _ in matched:
        if "image" not in by_role(columns):
            message = "the sheet has no column of image names and was left out"
            gathered.flags.append(Problem(kind="sheet-left-out", message=message, source=table.source()))
    readers = {question.id: answer_reader(question) for question in frame.questionnaire.questions}
    for table, columns, problems in usable:
        gathered.problems += problems
        gathered.columns += [f"{table.sheet + '!' if table.sheet else ''}{column}" for column in columns]
        _TableReader(table, columns, frame, readers, gathered).read()
    return gathered


def _with_images(table: Table, columns: tuple[Column, ...], index: ImageIndex) -> tuple[Column, ...]:
    """Return the columns; where none is headed as images, the one whose cells name images of the folder is taken."""
    if "image" in by_role(columns):
        return columns
    shares = {}
    for column in columns:
        texts = [cell_text(cells[column.number]) for _, cells in table.rows[:50] if column.number in cells]
        if column.role == "kept" and texts:
            shares[column] = sum(not isinstance(index.find(text), Problem) for text in texts) / len(texts)
    best = [column for column, share in shares.items() if share >= _NAMES_IMAGES]
    if len(best) != 1:
        return columns
    return tuple(replace(column, role="image") if column is best[0] else column for column in columns)


class _TableReader:
    """Reads one table's rows into what is gathered."""

    def __init__(
        self,
        table: Table,
        columns: Sequence[Column],
        frame: Frame,
        readers: Mapping[str, AnswerReader],
        gathered: Gathered,
    ) -> None:
        self.table, self.columns, self.frame, self.readers, self.gathered = table, columns, frame, readers, gathered
        self.roles = by_role(columns)
        self.asked = [(column, readers[column.question]) for column in columns if column.question]
        self.kind, self.argument = check_grouping(frame.group_by)
        self.group_column = name_from(columns, self.argument) if self.kind == "column" else None
        if self.kind == "column" and self.group_column is None:
            raise UserError(
                f"{table.source()} has no column {self.argument}",
                allowed=[" ".join(column.heading.split())[:40] for column in columns],
                do="name the column that holds the patient: --group-by column:NAME",
            )
        self.used = [c.number for c in columns if c.role != "kept" or c is self.group_column]
        self.kept = [(" ".join(c.heading.split()), c.number) for c in columns if c.role in ("kept", "spacing")]
        self.categories = Lexicon(frame.questionnaire.categories)
        found = self.categories.find(table.sheet) if table.sheet and frame.questionnaire.categories else None
        self.sheet_category = found.name if found else None

    def read(self) -> None:
        """Read every row; a row with a problem adds its problems and nothing else."""
        self._flag_lost()
        for number, cells in self.table.rows:
            if cells.keys().isdisjoint(self.used):
                continue
            problems: list[Problem] = []
            notes: list[Note] = []
            samples = self._row(number, cells, problems, notes)
            if problems:
                self.gathered.problems += problems
                self.gathered.bad_rows += 1
            else:
                self.gathered.samples += samples
                for note in notes:
                    self.gathered.note(*note)

    def _row(self, number: int, cells: dict[int, Value], problems: list[Problem], notes: list[Note]) -> list[Sample]:
        faults = self.table.faults
        if faults:
            problems += [faults[number, column] for column in self.used if (number, column) in faults]
        image = self._image(number, cells, problems)
        group = self._group(number, cells, image, problems)
        category = self._category(number, cells, image, problems)
        spacing = self._spacing(number, cells, problems)
        answers = [
            self._answer(number, column, cells[column.number], problems, notes)
            for column, _ in self.asked
            if column.number in cells and (number, column.number) not in faults
        ]
        if image is None or group is None or problems:
            return []
        annotator = self._text(cells, "annotator") or None
        texts = {role: self._text(cells, role) for role in _ATTRIBUTES}
        bare = Sample(
            id=image,
            image=self.frame.image_path(image),
            prefix="",
            group=group,
            category=category,
            annotator=annotator,
            attributes=self.frame.attributes_of(image, texts),
            columns=self._kept(number, cells),
            spacing_mm=spacing or self.frame.own_spacing(image),
            source=self.table.source(number, self.roles["image"].number),
        )
        ending = f":{annotator}" if annotator else ""
        # Copies: what a row's answers share is validated once.
        return [
            bare.model_copy(
                update={
                    "id": f"{image}:{question.id}{ending}",
                    "prefix": question.wording,
                    "suffix": text,
                    "question": question.id,
                    "answer": parsed.answer,
                    "parts": parsed.parts,
                    "source": place,
                }
            )
            for question, parsed, text, place in filter(None, answers)
        ] or [bare]

    def _flag_lost(self) -> None:
        """Flag cells of kept columns that carry no plain value: they are left out, their rows are not."""
        kept = {column.number for column in self.columns if column.role == "kept" and column is not self.group_column}
        rows = {number for number, _ in self.table.rows}
        for (row, column), fault in sorted(self.table.faults.items()):
            if column in kept and row in rows:
                self.gathered.flags.append(fault)

    def _text(self, cells: Mapping[int, Value], role: str) -> str:
        column = self.roles.get(role)  # type: ignore[call-overload]
        return plain_text(cell_text(cells.get(column.number))) if column else ""

    def _image(self, number: int, cells: Mapping[int, Value], problems: list[Problem]) -> str | None:
        column = self.roles["image"]
        place = self.table.source(number, column.number)
        written = cell_text(cells.get(column.number)).strip()
        if not written:
            problems.append(Problem(kind="no-image", message="the row names no image", source=place))
            return None
        hint = self._text(cells, "category") or self.table.sheet
        found = self.frame.index.find(written, hint)
        if isinstance(found, Problem):
            message = f"`{written}`: {found.message}" if found.source else found.message
            problems.append(found.model_copy(update={"source": place, "message": message}))
            if found.source:
                self.gathered.seen.add(found.source.file)
            return None
        self.gathered.seen.add(found)
        return found

    def _group(self, number: int, cells: Mapping[int, Value], image: str | None, problems: list[Problem]) -> str | None:
        if self.kind == "image" or image is None:
            return image
        if self.kind == "dicom":
            group, message = self.frame.own_group(image), "no group: the image is no DICOM file"
            column = self.roles["image"]
        elif self.kind == "pattern":
            group = pattern_group(self.argument, image)
            message = f"the pattern {self.argument} finds no group in `{image}`"
            column = self.roles["image"]
        else:
            column = self.group_column or self.roles["image"]
            value = cells.get(column.number)
            group = None if isinstance(value, date | time | timedelta) else plain_text(cell_text(value)) or None
            group = self.frame.hide("P", group) if group else None
            message = f"no group: column `{column.heading}` is {'empty' if value is None else 'a date or a time'}"
        if group is None:
            place = self.table.source(number, column.number)
            problems.append(Problem(kind="no-group", message=message, source=place))
        return group

    def _category(
        self, number: int, cells: Mapping[int, Value], image: str | None, problems: list[Problem]
    ) -> str | None:
        written = self._text(cells, "category")
        if written and self.frame.questionnaire.categories:
            found = self.categories.find(written, self.frame.layers)
            if found:
                return found.name
            place = self.table.source(number, self.roles["category"].number)
            near = self.categories.near(written)
            message = f"`{written}` is no category of {self.frame.questionnaire.name}"
            problems.append(Problem(kind="unknown-category", message=message, source=place, candidates=near))
            return None
        return written or self.sheet_category or (folder_category(image, self.categories) if image else None)

    def _spacing(self, number: int, cells: Mapping[int, Value], problems: list[Problem]) -> tuple[float, float] | None:
        """Return (row, column) mm a pixel from one column or two."""
        values: list[float] = []
        for role in ("spacing", "row spacing", "column spacing"):
            text = self._text(cells, role)
            if not text:
                continue
            read = read_pixel_sizes(text)
            if not read:
                place = self.table.source(number, self.roles[role].number)  # type: ignore[index]
                message = f"`{text}` is no pixel size in mm (0 to 10)"
                problems.append(Problem(kind="bad-spacing", message=message, source=place))
                return None
            values += read
        return (values[0], values[-1]) if values else None

    def _kept(self, number: int, cells: Mapping[int, Value]) -> dict[str, str]:
        return {
            heading: plain_text(cell_text(cells[column]))
            for heading, column in self.kept
            if column in cells and (number, column) not in self.table.faults
        }

    def _answer(
        self, number: int, column: Column, value: Value, problems: list[Problem], notes: list[Note]
    ) -> tuple[Question, Parsed, str, Source] | None:
        """Read one answer cell; a problem gets the cell's place, its text before and after is noted."""
        self.gathered.cells += 1
        place = self.table.source(number, column.number)
        if isinstance(value, date | time | timedelta):
            message = f"{value} is a date or a time, not an answer (Excel makes dates of `8-13`)"
            problems.append(Problem(kind="timestamp", message=message, source=place))
            return None
        written = cell_text(value)
        reader = self.readers[column.question or ""]
        parsed, after = reader.settle(written, self.frame.layers, column.unit)
        if parsed.problems or parsed.answer is None:
            problems += [problem.model_copy(update={"source": place}) for problem in parsed.problems]
            return None
        notes.append((place, reader.question.id, written, after, parsed.layers))
        return reader.question, parsed, after, place


@lru_cache(maxsize=4096)
def read_pixel_sizes(text: str) -> tuple[float, ...]:
    """Return the one or two sizes of a pixel in mm that text holds, or none if it holds anything else."""
    read = [read_numbers(piece) for piece in re.split(r"\s*[x×;*]\s*|\s+|\\", text.removesuffix("mm").strip())]
    clear = len(read) <= 2 and all(len(numbers) == 1 and 0 < numbers[0] < 10 for numbers in read)
    return tuple(numbers[0] for numbers in read) if clear else ()
