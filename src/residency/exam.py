"""Put a run to the test: a recipe or a run folder in, the test split's predictions in every way and the floors' out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from residency.config import Recipe
from residency.data.dataset import load_dataset
from residency.engines import Engine, EngineName, Pass, local_engine, ray_engine
from residency.folder import check_data, check_folder, holding, is_own_data, is_trained
from residency.material import select_samples
from residency.models.registry import Opened, ask_as, open_base, open_run, read_run
from residency.neighbours import tell_asked
from residency.paper import Exam, answer_mode, answer_modes, set_exam
from residency.predict import (
    Asked,
)
from residency.processes import is_first, join_processes, wait_for_all
from residency.prompting.phrasings import Phrasing
from residency.recipe import name_overrides, override_asking
from residency.rivals import FLOORS, answer_floors
from residency.selftrain import self_train
from residency.train import Trained, train_run
from residency.types import MODES, AnswerType, Mode, Record, SplitName


class Predicted(Record):
    """What a prediction pass wrote: files, how many answers were made now, and modes that could not run."""

    files: tuple[str, ...]
    made: int
    not_run: dict[str, str]


class Examined(Record):
    """A fold that was trained and put to the test."""

    trained: Trained | None
    predicted: Predicted | None


def examine_fold(recipe: Recipe, run: Path, fold: int, *, say: Callable[[str], None]) -> Examined:
    """Train a fold, unless it is trained already, and answer its test split in every way."""
    with holding(run):
        return _examine_held(recipe, run, fold, say)


def _examine_held(recipe: Recipe, run: Path, fold: int, say: Callable[[str], None]) -> Examined:
    trained = None
    if is_trained(run):
        check_folder(recipe, run, fold)
        say("  trained already; nothing is trained again (another name=... makes another run)")
    else:
        trained = (self_train if recipe.train.self_training else train_run)(recipe, run, fold, say)
        best = "" if trained.best_score is None else f", best validation score {trained.best_score:.3f}"
        say(f"  trained {trained.steps} steps ({trained.stopped}){best}")
        if trained.stopped == "interrupted":
            return Examined(trained=trained, predicted=None)
    predicted = predict_run(run)
    if not predicted.made:
        say("  predicted already; every file is whole")
    for mode, reason in predicted.not_run.items():
        say(f"  {mode}: not run: {reason}")
    return Examined(trained=trained, predicted=predicted)


def predict_runs(
    runs: Sequence[Path],
    *,
    data: Path | None = None,
    split: SplitName = "test",
    modes: Sequence[Mode] = MODES,
    floors: bool = True,
    out: Path | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    asking: Phrasing | None = None,
    overrides: Sequence[str] = (),
) -> Predicted:
    """Answer with every run (the folds of one); in `out`, where it is named, several get a folder each.

    Raises:
        UserError: as `predict_run`.
    """
    done = [
        predict_run(
            run,
            data=data,
            split=split,
            modes=modes,
            floors=floors,
            out=out / run.name if out and len(runs) > 1 else out,
            engine=engine,
            workers=workers,
            asking=asking,
            overrides=overrides,
        )
        for run in runs
    ]
    return Predicted(
        files=tuple(file for one in done for file in one.files),
        made=sum(one.made for one in done),
        not_run={mode: reason for one in done for mode, reason in one.not_run.items()},
    )


def predict_run(
    run: Path,
    *,
    data: Path | None = None,
    split: SplitName = "test",
    modes: Sequence[Mode] = MODES,
    floors: bool = True,
    out: Path | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    asking: Phrasing | None = None,
    overrides: Sequence[str] = (),
) -> Predicted:
    """Answer a split of a run's dataset (or of another one) in the given ways; whole files are not made again.

    `engine`: this process, or `workers` on a Ray cluster; the floors' tower is always seen through here. `asking`
    takes the place of the recipe's prompt, system and shots; `overrides` (`retrieval.k=3`) of what else says how to
    ask, and name the folder that their answers lie in.

    Raises:
        UserError: no such run, its training has not ended, the split is empty, or another command is at work on it.
        MissingExtra: Ray is asked for and not installed.
    """
    join_processes()
    recipe = asking.apply(read_run(run)) if asking else read_run(run)
    recipe = override_asking(recipe, overrides)
    opened = open_run(run)[1] if engine == "local" or floors else None
    if asking and opened:
        ask_as(opened.loaded, recipe)
    folder = out or _default_folder(recipe, run, data) / name_overrides(overrides)
    with holding(folder):
        exam = set_exam(recipe, data, split, recipe.fold if isinstance(recipe.fold, int) else 0)
        with ray_engine(str(run), workers) if opened is None or engine == "ray" else local_engine(opened) as answer:
            exam = _tell_neighbours(answer, exam, run, folder, opened)
            files, made, not_run = answer_modes(answer, exam, modes, folder)
        if floors and opened is not None:
            if is_first():
                questionnaire = exam.dataset.questionnaire
                answer_floors(opened, exam.training, exam.asked, questionnaire, exam.split, exam.fold, folder)
            wait_for_all()
            files += [str(folder / f"{split}.{floor}.jsonl") for floor in FLOORS]
    return Predicted(files=tuple(files), made=made, not_run=not_run)


def _tell_neighbours(engine: Engine, exam: Exam, run: Path, folder: Path, opened: Opened | None) -> Exam:
    """Return the exam with what the recipe retrieves told in its prompts."""
    recipe = exam.recipe
    if recipe.retrieval is None:
        return exam
    own = load_dataset(recipe.data)
    val = select_samples(recipe, own, own.split("val", exam.fold))
    asked = Asked(recipe.name, "own" if is_trained(run) else "base", "val", exam.fold)
    way = Pass(own.questionnaire, exam.candidates, asked, recipe.predict, None, recipe.ask)
    told = tell_asked(
        recipe,
        exam.fold,
        exam.training,
        val,
        exam.asked,
        own.questionnaire,
        run,
        folder,
        opened,
        partial(engine, way),
    )
    return replace(exam, asked=told)


def _default_folder(recipe: Recipe, run: Path, data: Path | None) -> Path:
    """Return the run's own folder of predictions, or one within it for a dataset that the run was not begun on.

    Raises:
        UserError: the run's dataset has changed since the run was begun.
    """
    if data is None:
        check_data(recipe.data, run)
        return run / "predictions"
    return run / "predictions" / ("" if is_own_data(data, run) else data.resolve().name)


def predict_model(
    model: str,
    data: Path,
    out: Path,
    split: SplitName = "test",
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    asking: Phrasing | None = None,
    overrides: Sequence[str] = (),
) -> Predicted:
    """Answer a dataset's split with an un-tuned model, choosing among the training split's candidates, into `out`.

    Raises:
        UserError: no such model or dataset, the split is empty, or another command is at work on `out`.
        MissingExtra: Ray is asked for and not installed.
    """
    join_processes()
    recipe = (asking or Phrasing()).apply(Recipe(name="base", data=data, model=model))
    recipe = override_asking(recipe, overrides)
    return predict_untuned(recipe, out / name_overrides(overrides), split, engine=engine, workers=workers)


def predict_untuned(
    recipe: Recipe,
    out: Path,
    split: SplitName = "test",
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    chosen: Sequence[AnswerType] | None = None,
) -> Predicted:
    """Answer a split with a recipe's model as it is. Answers of the types `chosen` (None: all but numbers) are chosen
    among the training split's, the others generated.

    Raises:
        UserError: as `predict_model`.
    """
    join_processes()
    exam = set_exam(recipe, None, split, recipe.fold if isinstance(recipe.fold, int) else 0)
    if chosen is not None and exam.dataset.questionnaire:
        closed = {question.id for question in exam.dataset.questionnaire.questions if question.type in chosen}
        exam = replace(exam, candidates={id: offer for id, offer in exam.candidates.items() if id in closed})
    path, model = out / f"{split}.base.jsonl", recipe.model
    with holding(out), ray_engine(model, workers) if engine == "ray" else local_engine(open_base(recipe)) as answer:
        exam = _tell_neighbours(answer, exam, out, out, None)
        made = answer_mode(answer, exam, "base", path, out)
    return Predicted(files=(str(path),), not_run={}, made=made)
