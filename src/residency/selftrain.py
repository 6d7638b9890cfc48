"""A recipe with self-training in, a trained run out: a teacher answers the images without answers, a student learns.

Each round is a run folder of its own in `rounds/` (0: the teacher, trained on true answers alone), so a run that was
cut off goes on where it stopped. Validation knows true answers only; the best round by it becomes the run.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from residency.arguments import require_shareable
from residency.config import Recipe, SelfTraining
from residency.data.dataset import load_dataset
from residency.data.unanswered import Unanswered, require_unanswered
from residency.errors import UserError
from residency.files import read_lines, write_json, write_lines
from residency.folder import check_folder, claim_folder, is_trained, saving
from residency.material import Material, gather_material
from residency.models.registry import open_run
from residency.pseudo import PseudoAnswer, answer_views, ask_images, closed_questions, pseudo_samples, select_answers
from residency.train import Trained, train_run
from residency.types import Record, Sample

BROUGHT = ("preflight.json", "metrics.jsonl", "pseudo.jsonl")


class Round(Record):
    """One training: how many answers it had of people and of a model, on how many images, and its validation."""

    true_answers: int
    true_images: int
    pseudo_answers: int
    pseudo_images: int
    by_question: dict[str, dict[str, int]]
    """Question -> answer -> pseudo answers."""
    score: float | None


class SelfTrained(Record):
    """What became of self-training, `selftraining.json`: images found and left out, the rounds, and which one ships."""

    unanswered_images: int
    left_out: dict[str, int]
    asked: int
    rounds: tuple[Round, ...]
    shipped: int


def self_train(recipe: Recipe, run: Path, fold: int, say: Callable[[str], None]) -> Trained:
    """Train a teacher, then students that learn from its answers too; the best by validation becomes the run.

    Where nothing can be validated the last student ships. `say` is told what happens.

    Raises:
        UserError: no image without answers, or no closed question; and what `train_run` raises.
        CheckFailed: as `train_run`.
    """
    settings = recipe.train.self_training
    assert settings is not None
    require_shareable(recipe.train)
    check_folder(recipe, run / "rounds" / "0", fold)
    dataset = load_dataset(recipe.data)
    found = require_unanswered(dataset, fold, accept_unknown="unknown-group" in recipe.accept)
    material = gather_material(recipe, dataset, fold)
    asked = _require_asked(found, material, recipe)
    claim_folder(recipe, run, fold)
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in found.left_out.items())
    say(f"  {len(found.images)} images without answers, {len(asked)} closed questions to ask of them{left_out}")
    trained = [_train_round(recipe, run / "rounds" / "0", fold, say, ())]
    rounds = [_describe(material, (), trained[0])]
    for number in range(1, settings.rounds + 1):
        if trained[-1].stopped == "interrupted":
            return trained[-1].model_copy(update={"run": str(run)})
        answers = _pseudo_answers(recipe, run / "rounds", number, _best_round(rounds), asked, material, settings)
        say(f"  round {number}: {len(answers)} confident, consistent answers on {_count_images(answers)} images")
        if not answers:
            break
        folder = run / "rounds" / str(number)
        trained.append(_train_round(recipe, folder, fold, say, pseudo_samples(answers, asked)))
        rounds.append(_describe(material, answers, trained[-1]))
    if trained[-1].stopped == "interrupted":
        return trained[-1].model_copy(update={"run": str(run)})
    return _ship(run, found, len(asked), rounds, trained, say)


def _require_asked(found: Unanswered, material: Material, recipe: Recipe) -> list[Sample]:
    asked = ask_images(found.images, material, recipe.prompt)
    if not asked:
        closed = [question.id for question in closed_questions(material)]
        raise UserError(
            "train.self_training has nothing to ask of the images without answers",
            found=f"closed questions: {', '.join(closed) or 'none'}; {len(found.images)} images, none of a "
            f"category that the training images have, or the prompt ({recipe.prompt}) cannot be filled for them",
            do="leave train.self_training out; only questions of type choice or ordinal without numbers can be used",
        )
    return asked


def _train_round(
    recipe: Recipe, folder: Path, fold: int, say: Callable[[str], None], pseudo: Sequence[Sample]
) -> Trained:
    """Train a round, unless it is trained already."""
    if not is_trained(folder):
        return train_run(recipe, folder, fold, say, pseudo)
    check_folder(recipe, folder, fold)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    scored = max((line for line in lines if "val_score" in line), key=lambda line: line["val_score"], default=None)
    return Trained(
        run=str(folder),
        steps=max((line.get("step", 0) for line in lines), default=0),
        best_score=scored["val_score"] if scored else None,
        best_step=scored["step"] if scored else None,
        stopped="done",
    )


def _pseudo_answers(
    recipe: Recipe,
    rounds: Path,
    number: int,
    teacher: int,
    asked: Sequence[Sample],
    material: Material,
    settings: SelfTraining,
) -> list[PseudoAnswer]:
    """Return a round's pseudo answers, from its file, or by asking the teacher and writing it."""
    path = rounds / str(number) / "pseudo.jsonl"
    if not path.is_file():
        _, opened = open_run(rounds / str(teacher))
        views = answer_views(opened, asked, material, recipe, settings.agreement, path.with_name("views.jsonl"))
        write_lines(path, select_answers(asked, views, material.train, settings))
    return read_lines(path, PseudoAnswer)


def _describe(material: Material, answers: Sequence[PseudoAnswer], trained: Trained) -> Round:
    by_question: dict[str, dict[str, int]] = {}
    for answer in answers:
        counts = by_question.setdefault(answer.question, {})
        counts[str(answer.answer)] = counts.get(str(answer.answer), 0) + 1
    return Round(
        true_answers=len(material.train),
        true_images=len({sample.image for sample in material.train}),
        pseudo_answers=len(answers),
        pseudo_images=_count_images(answers),
        by_question=by_question,
        score=trained.best_score,
    )


def _best_round(rounds: Sequence[Round]) -> int:
    """Return the best round by validation, the earliest of equals; the last where nothing was validated."""
    scores = [one.score for one in rounds]
    if None in scores:
        return len(rounds) - 1
    return max(range(len(rounds)), key=lambda number: (scores[number], -number))


def _ship(
    run: Path,
    found: Unanswered,
    asked: int,
    rounds: Sequence[Round],
    trained: Sequence[Trained],
    say: Callable[[str], None],
) -> Trained:
    """Make the best round the run: its files are copied, the adapter, whose presence says `trained`, last."""
    best = _best_round(rounds)
    scores = ", ".join("not validated" if one.score is None else f"{one.score:.3f}" for one in rounds)
    say(f"  validation of teacher and students: {scores}; {f'student {best}' if best else 'the teacher'} ships")
    folder = run / "rounds" / str(best)
    record = SelfTrained(
        unanswered_images=len(found.images),
        left_out=dict(found.left_out),
        asked=asked,
        rounds=tuple(rounds),
        shipped=best,
    )
    write_json(run / "selftraining.json", record.model_dump(mode="json"))
    with saving(run / "adapter"):
        for name in BROUGHT:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, run / name)
        shutil.rmtree(run / "best", ignore_errors=True)
        shutil.copytree(folder / "adapter", run / "best")
        (run / "best").replace(run / "adapter")
    return trained[best].model_copy(update={"run": str(run), "steps": sum(one.steps for one in trained)})


def _count_images(answers: Sequence[PseudoAnswer]) -> int:
    return len({answer.image for answer in answers})
