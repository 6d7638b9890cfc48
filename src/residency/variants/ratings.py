"""Several models' answers in; a sheet for people to rate, in random order and without names, out; and back.

The key that tells whose answer each row holds lies beside the sheet, so that raters need not see it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residency.errors import CheckFailed, UserError
from residency.evaluate.bootstrap import estimate
from residency.evaluate.heading import name_question
from residency.evaluate.metric import Metric, mean_tally
from residency.evaluate.read import Evidence
from residency.files import is_there, read_json, read_text, sha256_text, write_json, write_text
from residency.tables import plain_cell, tell_csv
from residency.types import Prediction, Problem, Record, Sample, Source

LOWEST, HIGHEST = 1, 5
SCALE = f"rating ({LOWEST} wrong or useless .. {HIGHEST} as I would write it)"
HEADS = ("item", "image", "question", "answer", SCALE, "remark")
SHEET, KEY = "ratings.csv", "ratings.key.json"
RATING = Metric("rating", bounded=False)


class Row(Record):
    """Whose answer a row of the sheet holds, to which sample of which group."""

    of: str
    sample: str
    group: str


class Key(Record):
    """Each row by its item's number, and the hash of all answers: ratings of other answers are refused."""

    rows: dict[str, Row]
    answers: str


class Rated(Record):
    """The mean rating of one model's answers, with its interval by group, by how many raters' sheets."""

    mean: float
    low: float | None
    high: float | None
    ratings: int
    groups: int
    raters: int


@dataclass(frozen=True)
class Sheet:
    """Where the sheet lies, and its key."""

    file: Path
    key: Key


def write_sheet(
    evidence: Evidence, made: Mapping[str, Sequence[Prediction]], folder: Path, images: int, seed: int
) -> Sheet:
    """Write the sheet, unless one of the same answers is there: so many images' texts, each model's, in random order.

    Raises:
        UserError: there is a sheet of other answers.
    """
    asked = _choose(evidence, images, seed)
    by_id = {name: {line.id: line.prediction for line in lines} for name, lines in made.items()}
    told = [(sample, name, by_id[name].get(sample.id, "")) for sample in asked for name in made]
    digest = sha256_text("\n".join(f"{sample.id} {name} {answer!r}" for sample, name, answer in told))
    file, place = folder / SHEET, folder / KEY
    if is_there(file) and is_there(place):
        key = read_json(place, Key)
        if key.answers != digest:
            do = f"keep it elsewhere, and remove {file} and {place}: a new sheet is written then"
            raise UserError(f"{file} rates other answers than these", do=do)
        return Sheet(file, key)
    order = np.random.default_rng([seed, len(told)]).permutation(len(told))
    rows: dict[str, Row] = {}
    lines: list[tuple[object, ...]] = [HEADS]
    for number, place_of in enumerate(order, 1):
        sample, name, answer = told[int(place_of)]
        rows[str(number)] = Row(of=name, sample=sample.id, group=sample.group)
        image = str(evidence.dataset.image_path(sample).resolve())
        lines.append((number, image, plain_cell(_say_question(sample, evidence)), plain_cell(answer), "", ""))
    key = Key(rows=rows, answers=digest)
    write_json(place, key.model_dump(mode="json"))
    write_text(file, "\ufeff" + tell_csv(lines))  # the mark lets Excel read UTF-8
    return Sheet(file, key)


def read_ratings(sheet: Sheet, files: Sequence[Path], draws: int = 2000, seed: int = 0) -> dict[str, Rated]:
    """Return each model's mean rating over the sheets that people filled in, one a rater; empty cells are left out.

    Raises:
        UserError: a file that cannot be read.
        CheckFailed: items that are not of this sheet, or ratings that are none; all of them.
    """
    marks: dict[str, list[tuple[str, float]]] = {}
    raters: dict[str, set[str]] = {}
    problems: list[Problem] = []
    for file in files:
        for number, line in enumerate(csv.DictReader(io.StringIO(read_text(file).lstrip("\ufeff"))), 2):
            given = (line.get(SCALE) or "").strip()
            if not given:
                continue
            row, place = (
                sheet.key.rows.get((line.get("item") or "").strip()),
                Source(file=str(file), cell=f"line {number}"),
            )
            if row is None:
                problems.append(Problem(kind="unknown-item", message="no such item in this sheet", source=place))
            elif given not in {str(mark) for mark in range(LOWEST, HIGHEST + 1)}:
                message = f"`{given[:20]}` is no whole number from {LOWEST} to {HIGHEST}"
                problems.append(Problem(kind="no-rating", message=message, source=place))
            else:
                marks.setdefault(row.of, []).append((row.group, float(given)))
                raters.setdefault(row.of, set()).add(str(file))
    if problems:
        raise CheckFailed("ratings", problems, do="mend these cells, and give the same command again")
    found = {}
    for name, given_to in marks.items():
        tally = mean_tally(RATING, np.array([mark for _, mark in given_to]))
        mean = estimate(tally, [group for group, _ in given_to], draws, seed)
        assert mean.value is not None
        found[name] = Rated(
            mean=mean.value, low=mean.low, high=mean.high, ratings=mean.n, groups=mean.groups, raters=len(raters[name])
        )
    return found


def _choose(evidence: Evidence, images: int, seed: int) -> list[Sample]:
    """Return the samples answered in free text about so many images, drawn by the seed."""
    known = {question.id: question for question in getattr(evidence.dataset.questionnaire, "questions", ())}
    told = [
        sample
        for sample in evidence.samples
        if not sample.boxes
        and not sample.outlines
        and (sample.question is None or known[sample.question].type == "text" or len(known) == 1)
    ]
    names = sorted({sample.image for sample in told or evidence.samples})
    drawn = {names[int(place)] for place in np.random.default_rng(seed).permutation(len(names))[:images]}
    return [sample for sample in told or evidence.samples if sample.image in drawn]


def _say_question(sample: Sample, evidence: Evidence) -> str:
    """Return a question for a person: a task token's heading, else its words."""
    known = {question.id: question for question in getattr(evidence.dataset.questionnaire, "questions", ())}
    if sample.prefix.startswith("<") and sample.question in known:
        return name_question(known[sample.question])
    return sample.prefix
