"""Train a run: a recipe in, a folder out that holds the adapter, its proof, its curves and its predictions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from residency.arguments import require_shareable
from residency.config import Recipe
from residency.data.dataset import load_dataset
from residency.distill import require_teachable
from residency.files import write_json
from residency.folder import check_folder, claim_folder, last_checkpoint, saving
from residency.material import gather_material
from residency.models.adapt import apply_plan, describe_plan, plan_tuning
from residency.models.features import keep_features, remove_features
from residency.models.registry import describe_prefix, open_base
from residency.neighbours import tell_material
from residency.preflight import require_lengths, require_passed, run_preflight
from residency.processes import any_of_all, is_first, join_processes, wait_for_all
from residency.progress import open_bar
from residency.tracking import TrackCurves, require_trackers
from residency.trainer import RunTrainer
from residency.types import Record, Sample
from residency.watch import ShowProgress, best_validation, heeding_interrupt


class Trained(Record):
    """What a training ended with. `stopped` says why: `done`, `no better validation`, or `interrupted`."""

    run: str
    steps: int
    best_score: float | None
    best_step: int | None
    stopped: str


def train_run(
    recipe: Recipe,
    run: Path,
    fold: int,
    say: Callable[[str], None],
    pseudo: Sequence[Sample] = (),
    *,
    sealed: bool = False,
) -> Trained:
    """Train one fold into `run`; a run that was cut off goes on from its last whole checkpoint.

    `say` is told each check of the preflight and each epoch's validation. `pseudo` are samples with a model's own
    answers to train on besides. `sealed`: the test split is not even read.

    Raises:
        UserError: the folder holds a run of another recipe or dataset; a split is empty; no such model.
        CheckFailed: an image or a prompt is not usable, or the preflight did not hold; nothing was trained.
    """
    require_shareable(recipe.train)
    join_processes()
    check_folder(recipe, run, fold)
    require_trackers(recipe.track)
    material = replace(gather_material(recipe, load_dataset(recipe.data), fold, sealed=sealed), pseudo=tuple(pseudo))
    opened = open_base(recipe)
    material = tell_material(recipe, material, run, fold, opened)
    plan = plan_tuning(opened.family, opened.loaded.model, recipe.tune)
    for line in describe_plan(opened.family, opened.loaded.model, plan, recipe.tune):
        say(f"  plan {line}")
    say(f"  plan image prefix: {describe_prefix(opened)}")
    apply_plan(opened.loaded, plan, recipe.tune, recipe.train.seed)
    require_teachable(opened, recipe.train)
    require_lengths(opened, material, recipe.ask)
    recipe = claim_folder(recipe, run, fold)
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        preflight = run_preflight(opened, recipe, material.train, material.val, material.questionnaire)
        if is_first():
            write_json(run / "preflight.json", preflight.model_dump(mode="json"))
        for check in preflight.checks:
            say(f"  preflight {check.name}: {'ok' if check.passed else 'FAILED'}: {check.detail}")
        require_passed(preflight)
    else:
        say(f"  goes on from {checkpoint.name}")
    if not material.val:
        say("  no validation groups: every epoch is trained, the last weights are kept")
    opened.loaded.kept = keep_features(opened, recipe.train, run / "features")
    trainer = RunTrainer(opened, recipe, run, material)
    with open_bar() as bar, heeding_interrupt(trainer.interrupt):
        trainer.add_callback(ShowProgress(say, bar))
        if is_first():
            trainer.add_callback(TrackCurves(recipe, run))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return _finish(trainer, run)


def _finish(trainer: RunTrainer, run: Path) -> Trained:
    best = best_validation(trainer.state)
    finished = not any_of_all(trainer.interrupt.asked)
    if finished:
        if best is None:
            trainer.save_adapter()
        if is_first():
            with saving(run / "best"):
                trainer.opened.loaded.processor.save_pretrained(str(run / "best"))
                (run / "best").replace(run / "adapter")
        wait_for_all()
    if finished and is_first():
        remove_features(run / "features")
    early = trainer.state.global_step < trainer.state.max_steps
    return Trained(
        run=str(run),
        steps=trainer.state.global_step,
        best_score=best["eval_score"] if best else None,
        best_step=best["step"] if best else None,
        stopped="interrupted" if not finished else "no better validation" if early else "done",
    )
