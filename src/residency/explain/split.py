"""A split explained: a run's answers in, their heat maps as pictures and the deletion test by question out."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from residency.config import Recipe
from residency.errors import UserError
from residency.evaluate.bootstrap import Estimate, estimate
from residency.evaluate.metric import Metric, mean_tally
from residency.exam import predict_run
from residency.explain.deletion import Deletion, delete_marked
from residency.explain.heat import Heat, map_answers
from residency.explain.picture import Picture
from residency.files import read_lines, write_json, write_lines, written_whole
from residency.models.registry import Opened, open_run, read_run
from residency.neighbours import open_tell
from residency.paper import set_exam
from residency.progress import track
from residency.types import Prediction, Record, Sample, SplitName

SEED = 0


class Explained(Record):
    """Why one answer: its heat map (h, w) over the image, 0 to 1, and the deletion test; None where the map is empty,
    for then no place speaks for the answer."""

    id: str
    image: str
    group: str
    question: str
    prediction: str
    heat: tuple[tuple[float, ...], ...]
    deletion: Deletion | None
    picture: str


class Outcome(Record):
    """The deletion test of one question's answers, means in nats; `gain` is marked less random, [low, high] its 95%
    interval by group. `empty` answers have no map and no part in it."""

    question: str
    answers: int
    groups: int
    empty: int
    marked: float | None
    random: float | None
    gain: float | None
    low: float | None
    high: float | None


class Explanation(Record):
    """A split explained: the settings, each question's outcome and all questions' (`all`), and the files."""

    run: str
    split: str
    share: float
    draws: int
    seed: int
    outcomes: tuple[Outcome, ...]
    folder: str


def explain_split(
    run: Path,
    *,
    data: Path | None = None,
    split: SplitName = "test",
    questions: Sequence[str] = (),
    images: int | None = None,
    share: float = 0.1,
    draws: int = 8,
    out: Path | None = None,
) -> Explanation:
    """Explain a run's own answers to a split (made first where they are not there), and write what was found.

    `images`: so many, drawn with the seed; `share`: of the sector's area, deleted; `draws`: random regions an answer.
    Similar cases that the prompts tell of stay as they were found by the whole picture.

    Raises:
        UserError: no such run, dataset or question.
    """
    recipe = read_run(run)
    _require_apart(recipe)
    answered = predict_run(run, data=data, split=split, modes=("own",), floors=False)
    _, opened = open_run(run)  # after predict_run has let go of its own: never two models in memory
    exam = set_exam(recipe, data, split, recipe.fold if isinstance(recipe.fold, int) else 0)
    said = {line.id: line.prediction for line in read_lines(Path(answered.files[0]), Prediction)}
    told = open_tell(recipe, exam.training, exam.fold, run, opened)(exam.asked, None)
    samples = _choose(told, said, questions, images)
    folder = out or run / "explained"
    explained: list[Explained] = []
    for _, of_image in track([(i, list(s)) for i, s in groupby(samples, lambda s: s.image)], "images explained"):
        explained += _explain_image(opened, of_image, share, draws, folder)
    write_lines(folder / f"{split}.jsonl", explained)
    result = Explanation(
        run=str(run), split=split, share=share, draws=draws, seed=SEED,
        outcomes=tuple(_tally(explained)), folder=str(folder),
    )  # fmt: skip
    write_json(folder / f"{split}.json", result.model_dump(mode="json"))
    return result


def _require_apart(recipe: Recipe) -> None:
    """Make sure that each answer hangs on one question.

    Raises:
        UserError: it does not.
    """
    if recipe.ask == "together":
        raise UserError(
            f"{recipe.name} is asked more than a question about a picture, so what an answer hangs on cannot be told",
            found="ask: together",
            allowed="runs that ask each question alone",
        )


def _choose(
    asked: Sequence[Sample], said: dict[str, str], questions: Sequence[str], images: int | None
) -> list[Sample]:
    """Return the answered samples, with what was said as their answers, by image."""
    known = [sample for sample in asked if said.get(sample.id)]
    if lacking := set(questions) - {sample.question for sample in known}:
        raise UserError(
            f"no answer to {', '.join(sorted(lacking))}", allowed=sorted({sample.question or "" for sample in known})
        )
    names = sorted({sample.image for sample in known})
    drawn = np.random.default_rng(SEED).permutation(len(names))[:images]
    chosen = {names[place] for place in drawn}
    return sorted(
        (
            sample.model_copy(update={"suffix": said[sample.id]})
            for sample in known
            if sample.image in chosen and (not questions or sample.question in questions)
        ),
        key=lambda sample: (sample.image, sample.question or ""),
    )


def _explain_image(
    opened: Opened, samples: Sequence[Sample], share: float, draws: int, folder: Path
) -> list[Explained]:
    picture = Picture.read(Path(samples[0].image))
    heats = map_answers(opened, samples, picture, SEED)
    mapped = [row for row, heat in enumerate(heats) if heat.any()]
    outcomes = delete_marked(
        opened, [samples[row] for row in mapped], [heats[row] for row in mapped], picture,
        share=share, draws=draws, rng=np.random.default_rng(SEED + 1),  # not the speckle that the maps were made with
    )  # fmt: skip
    tested = dict(zip(mapped, outcomes, strict=True))
    return [
        _write_one(sample, heat, tested.get(row), picture, folder)
        for row, (sample, heat) in enumerate(zip(samples, heats, strict=True))
    ]


def _write_one(sample: Sample, heat: Heat, deletion: Deletion | None, picture: Picture, folder: Path) -> Explained:
    path = folder / f"{Path(sample.image).stem}.{sample.question or 'answer'}.png"
    with written_whole(path) as file:
        picture.overlay(heat).save(file, "PNG")
    return Explained(
        id=sample.id, image=sample.image, group=sample.group, question=sample.question or "",
        prediction=sample.suffix or "", heat=tuple(tuple(round(float(v), 3) for v in row) for row in heat),
        deletion=deletion, picture=str(path),
    )  # fmt: skip


def _tally(explained: Sequence[Explained]) -> list[Outcome]:
    """Return the outcomes by question, all questions' last."""
    names = sorted({line.question for line in explained})
    parts = [(name, [line for line in explained if line.question == name]) for name in names]
    return [_outcome(name, lines) for name, lines in ([*parts, ("all", list(explained))] if len(parts) > 1 else parts)]


def _outcome(question: str, lines: Sequence[Explained]) -> Outcome:
    tested = [(line.group, line.deletion) for line in lines if line.deletion]
    marked, random, gain = (
        _mean([values[k] for values in ((d.marked, d.random, d.gain) for _, d in tested)], [g for g, _ in tested])
        for k in range(3)
    )
    return Outcome(
        question=question, answers=len(lines), groups=gain.groups, empty=len(lines) - len(tested),
        marked=marked.value, random=random.value, gain=gain.value, low=gain.low, high=gain.high,
    )  # fmt: skip


def _mean(values: Sequence[float], groups: Sequence[str]) -> Estimate:
    return estimate(
        mean_tally(Metric("log-likelihood lost", "nats", bounded=False), np.array(values, np.float64)),
        groups,
        seed=SEED,
    )
