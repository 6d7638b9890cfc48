"""The whole job on simulated studies: a folder in, studies, dataset, run and report in it out, offline."""

from collections.abc import Callable
from pathlib import Path

from residency.config import Recipe, Train, Tune
from residency.data.audit import audit_dataset
from residency.data.ingest import ingest
from residency.errors import UserError
from residency.evaluate.examine import evaluate_run
from residency.exam import examine_fold
from residency.report.page import write_report
from residency.types import Record
from residency.ultrasound.phantom import HELD_OUT_SITE, write_phantom

ANNOTATED = ("abdomen", "femur", "non-standard NT", "standard NT", "thorax")
IMAGES_EACH = 50
PATIENTS = 220
SEED = 7
TUNE, TRAIN = Tune(lora=None, train=("projector", "language")), Train(epochs=12, learning_rate=5e-4)
"""Those of recipes/fetal8-nano.yaml; a test holds them equal."""


class Demonstrated(Record):
    """Where the demo's parts lie, and its finding in one sentence."""

    studies: str
    dataset: str
    run: str
    report: str
    finding: str


def run_demo(out: Path, *, quick: bool, say: Callable[[str], None]) -> Demonstrated:
    """Simulate a hospital whose machines, wording and prevalence the embedded model never saw; tune, examine, report.

    A demo that was cut off goes on; one that is done is examined anew.

    Raises:
        UserError: the folder holds something else.
    """
    studies, dataset = out / "studies", out / "dataset"
    begun = (studies / "truth.jsonl").is_file()
    if not begun and out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty", do="choose another folder with --out, or remove it")
    each, patients = (12, 60) if quick else (IMAGES_EACH, PATIENTS)
    say(f"1/5 simulated studies from a hospital that the model never saw: {studies}")
    if not begun:
        annotate = dict.fromkeys(ANNOTATED, each)
        write_phantom(studies, patients=patients, seed=SEED, site=HELD_OUT_SITE.name, annotate=annotate)
    say(f"2/5 answer sheet and images -> checked dataset: {dataset}")
    if not dataset.is_dir():
        ingest(studies / "answers.xlsx", studies / "images", "fetal8", dataset, "column:Patient", seed=SEED)
    audit_dataset(dataset)
    train = TRAIN.model_copy(update={"epochs": 1}) if quick else TRAIN
    recipe = Recipe(name="demo", data=dataset, out=out / "runs", tune=TUNE, train=train)
    run = out / "runs" / "demo"
    say(f"3/5 fine-tuning and predicting the held-out patients: {run}")
    examine_fold(recipe, run, 0, say=say)
    say("4/5 examining: intervals by patient, beside base, majority, blind, shuffled, mute, probe and neighbours")
    examination = evaluate_run(run)
    say("5/5 report")
    report = write_report(run)
    return Demonstrated(
        studies=str(studies),
        dataset=str(dataset),
        run=str(run),
        report=str(report),
        finding=examination.tallied.sentence(),
    )
