"""Images without answers and a model in; the next annotation round out: a table, or an answer sheet to fill in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from PIL import Image

from residency.data.dataset import Dataset, load_dataset
from residency.data.images import quiet_readers, read_images
from residency.errors import UserError
from residency.files import is_there, write_text, written_whole
from residency.models.embed import tower_features
from residency.progress import track
from residency.questionnaire import render_value
from residency.serve.interpret import Interpreter, Picture, open_interpreter
from residency.serve.rank import Turn, rank_images
from residency.serve.sheet import head_question
from residency.serve.told import AnswerTold
from residency.tables import plain_cell, tell_csv
from residency.types import Questionnaire, Record, Sample

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
BATCH = 8
HEADS = ("rank", "image", "patient", "score", "uncertainty", "distance", "rarity", "likely answer")


class Round(Record):
    """What was ranked and written; `balanced` is the question whose rare answers come first."""

    written: str
    images: int
    ranked: int
    annotated: int
    balanced: str | None
    unreadable: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    next_command: str = ""


@dataclass(frozen=True)
class Waiting:
    """Images that nobody has annotated, by the name they are called in the sheet, with their patients where these are
    known, and those that somebody has."""

    images: dict[str, Sample]
    patients: dict[str, str]
    annotated: tuple[Sample, ...]
    unreadable: tuple[str, ...]


def plan_round(
    source: Path,
    model: str,
    out: Path,
    *,
    data: Path | None = None,
    balance: str | None = None,
    most: int | None = None,
) -> Round:
    """Rank the images without answers for the next annotation round and write the order.

    Args:
        source: a dataset folder (its images without answers), or a folder of images, any depth.
        model: a run's folder, or a base model.
        out: .csv (what spoke for each image), or .xlsx (an answer sheet in this order, answers empty).
        data: the dataset, where it is not the run's own; what it annotates counts as known.
        balance: a question; left out, the first closed one.
        most: how many images the round takes; None ranks all.

    Raises:
        UserError: nothing to annotate, no such model or question, a file ending that is neither, a sheet that is there.
    """
    if out.suffix.lower() not in (".csv", ".xlsx"):
        raise UserError(f"{out} is no list that is written", found=out.suffix or "no ending", allowed=".csv, .xlsx")
    if out.suffix.lower() == ".xlsx" and is_there(out):
        raise UserError(f"{out} is there already, perhaps filled in", do="choose another --out, or remove it")
    dataset = load_dataset(source) if is_there(source / "samples.jsonl") else None
    interpreter = open_interpreter(model, data or (dataset.folder if dataset and dataset.questionnaire else None))
    waiting = _list_dataset(dataset) if dataset else _list_folder(source, interpreter)
    if not waiting.images:
        found, do = f"{len(waiting.unreadable)} unreadable", "name a folder of images that nobody has annotated"
        raise UserError(f"{source} has no image that waits for answers", found=found, do=do)
    balanced = _choose_balance(interpreter.questionnaire, balance)
    names = list(waiting.images)
    told = _answer_images(interpreter, [waiting.images[name] for name in names])
    features = tower_features(interpreter.opened, (*waiting.images.values(), *waiting.annotated))
    known = {sample.image: sample for sample in waiting.annotated}
    answered = {s.image: render_value(s.answer) for s in waiting.annotated if s.question == balanced and s.answer}
    turns = rank_images(
        np.stack([features[waiting.images[name].image] for name in names]).astype(np.float64),
        np.array([_doubt(answers) for answers in told]),
        [_likely(answers, balanced) for answers in told],
        np.array([features[image] for image in known], dtype=np.float64),
        [answered.get(image, "") for image in known],
        most,
    )
    _write(out, interpreter.questionnaire, names, waiting, told, turns, balanced)
    return Round(
        written=str(out),
        images=len(names),
        ranked=len(turns),
        annotated=len(known),
        balanced=balanced,
        unreadable=waiting.unreadable,
        first=tuple(names[turn.row] for turn in turns[:5]),
        next_command=f"residency ingest --sheet {out} --images ..." if out.suffix.lower() == ".xlsx" else "",
    )


def _list_dataset(dataset: Dataset) -> Waiting:
    annotated = {sample.image for sample in dataset.samples if sample.suffix is not None}
    places = {sample.image: str(dataset.image_path(sample).resolve()) for sample in dataset.samples}
    bare = {s.image: s for s in dataset.samples if s.image not in annotated}
    with quiet_readers():
        readable, problems = read_images({image: Path(places[image]) for image in bare})
    known = [s.model_copy(update={"image": places[s.image]}) for s in dataset.samples if s.suffix is not None]
    images = {one.name: bare[one.name].model_copy(update={"image": places[one.name]}) for one in readable}
    patients = {name: sample.group for name, sample in images.items()}
    return Waiting(images, patients, tuple(known), tuple(str(problem) for problem in problems))


def _list_folder(folder: Path, interpreter: Interpreter) -> Waiting:
    """Return a folder's images; those that the model learned from are not asked for again."""
    if not folder.is_dir():
        raise UserError(f"{folder} is neither a dataset nor a folder of images", found="nothing there")
    learned = {sample.sha256 for sample in interpreter.training if sample.sha256}
    paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.suffix.lower() in ENDINGS}
    with quiet_readers():
        readable, problems = read_images(paths)
    images = {
        one.name: Sample(id=one.name, image=str(paths[one.name].resolve()), prefix="", group=one.name)
        for one in readable
        if one.sha256 not in learned
    }
    return Waiting(images, {}, interpreter.training, tuple(str(problem) for problem in problems))


def _choose_balance(questionnaire: Questionnaire, wanted: str | None) -> str | None:
    closed = [question.id for question in questionnaire.questions if question.type in ("choice", "ordinal")]
    if wanted is not None and wanted not in closed:
        raise UserError(f"no closed question {wanted}", allowed=closed, do="name one of these with --balance")
    return wanted or next(iter(closed), None)


def _answer_images(interpreter: Interpreter, samples: Sequence[Sample]) -> list[dict[str, AnswerTold]]:
    """Return the model's answers about each image, by question."""
    told: list[dict[str, AnswerTold]] = [{} for _ in samples]
    for start in track(range(0, len(samples), BATCH), "asking the model", total=-(-len(samples) // BATCH)):
        pictures = []
        for sample in samples[start : start + BATCH]:
            with Image.open(sample.image) as file:
                pictures.append(Picture(file.convert("RGB"), sample.image, sample.group, sample.spacing_mm))

        def hear(place: int, answer: AnswerTold, start: int = start) -> None:
            told[start + place][answer.question] = answer

        interpreter.read(pictures, hear)
    return told


def _doubt(answers: dict[str, AnswerTold]) -> float:
    """Return how unsure the model is of an image: the mean over its answers of one minus the confidence."""
    return float(np.mean([1 - answer.confidence for answer in answers.values()]))


def _likely(answers: dict[str, AnswerTold], question: str | None) -> str:
    answer = answers[question].answer if question in answers else None
    return "" if answer is None else render_value(answer)


def _write(
    out: Path,
    questionnaire: Questionnaire,
    names: Sequence[str],
    waiting: Waiting,
    told: Sequence[dict[str, AnswerTold]],
    turns: Sequence[Turn],
    balanced: str | None,
) -> None:
    if out.suffix.lower() == ".csv":
        lines: list[tuple[object, ...]] = [HEADS]
        for rank, turn in enumerate(turns, 1):
            name = names[turn.row]
            figures = (turn.score, turn.uncertainty, turn.distance, turn.rarity)
            shown = [f"{figure:.4f}" for figure in figures]
            words = (plain_cell(text) for text in (name, waiting.patients.get(name, "")))
            lines.append((rank, *words, *shown, plain_cell(_likely(told[turn.row], balanced))))
        write_text(out, tell_csv(lines))
        return
    book = Workbook(write_only=True)
    sheet = book.create_sheet("answers")
    sheet.append(["Image", "Patient", "Annotator", *map(head_question, questionnaire.questions)])
    for turn in turns:
        sheet.append([names[turn.row], waiting.patients.get(names[turn.row])])
    with written_whole(out) as whole:
        book.save(whole)
