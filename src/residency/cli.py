"""The `residency` command: arguments in, one call each, and what it did, wrote, and what comes next out."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residency import NOT_FOR_DIAGNOSIS, __version__
from residency.errors import UserError
from residency.tell import model_table, out_console, say, score_table, stop, tell
from residency.types import MODES, Mode, SplitName

if TYPE_CHECKING:
    from residency.data.wording import Layer

HELP = f"""Train, examine and serve small vision-language models on medical images with few annotations.

From a spreadsheet and a folder of images to an examined model:

\b
  residency ingest --sheet answers.xlsx --images images --questionnaire fetal8 \\
                   --group-by column:Patient --out dataset
  residency audit dataset                    what was found wrong: dataset/audit.html
  residency train recipes/fetal8-nano.yaml data=dataset
  residency evaluate runs/fetal8-nano        scores with intervals by patient
  residency report runs/fetal8-nano          one page: runs/fetal8-nano/report.html

No data at hand: `residency demo` does all of it on simulated studies, offline.

{NOT_FOR_DIAGNOSIS}
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

Way = Literal["own", "base", "blind", "shuffled", "mute", "all"]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Seed = Annotated[int, typer.Option(help="Everything drawn at random follows from it.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes less: fewer patients, one epoch.")] = False,
    as_json: Json = False,
) -> None:
    """Do the whole job on simulated studies, offline, with the embedded model: studies to report."""
    from residency.demo import run_demo

    tell(run_demo(out, quick=quick, say=say), as_json, lines=("finding", "report"))


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    patients: Annotated[
        int, typer.Option(min=1, help="How many simulated patients; each has one to six images.")
    ] = 100,
    seed: Seed = 0,
    site: Annotated[
        str | None, typer.Option(help="One site's machines and wording; left out, all training sites.")
    ] = None,
    messy: Annotated[bool, typer.Option("--messy", help="Plant the defects of real answer sheets.")] = False,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Image side in pixels.")] = 256,
    as_json: Json = False,
) -> None:
    """Simulate fetal ultrasound studies and their answer sheet, with the ground truth beside."""
    from residency.ultrasound.phantom import write_phantom

    summary = write_phantom(out, patients=patients, seed=seed, site=site, messy=messy, size=size)
    sheet = f"--sheet {out}/answers.xlsx --images {out}/images --questionnaire fetal8 --group-by column:Patient"
    tell(summary, as_json, next=f"residency ingest {sheet} --out dataset")


@app.command()
def ingest(
    images: Annotated[Path, typer.Option(help="Folder of images, any depth; or a report folder with its JSONL files.")],
    out: Annotated[Path, typer.Option(help="The dataset's folder; it appears whole or not at all.")],
    group_by: Annotated[
        str,
        typer.Option(help="What a split must not tear apart: column:NAME, pattern:REGEX, or image (accepts the risk)."),
    ],
    sheet: Annotated[Path | None, typer.Option(help="Answers: .xlsx, .csv, .tsv, or .jsonl.")] = None,
    questionnaire: Annotated[
        str | None, typer.Option(help="fetal8 or a YAML file; left out, a draft is written for you to edit.")
    ] = None,
    folds: Annotated[int, typer.Option(min=1, help="1: train, val, test. More: folds for cross-validation.")] = 1,
    seed: Seed = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out and record them.")] = False,
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test, in parts of groups.")] = "0.6,0.15,0.25",
    layers: Annotated[
        str, typer.Option(help="Layers of normalization that are applied; leave any out.")
    ] = "space,spelling,vocabulary",
    resplit: Annotated[bool, typer.Option("--resplit", help="Draw new splits though the data has its own.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put the dataset in the place of an older one.")] = False,
    as_json: Json = False,
) -> None:
    """Compile a spreadsheet and images into a checked dataset with splits that do not leak. Sources are only read."""
    from residency.data.ingest import ingest as compile_dataset

    summary = compile_dataset(
        sheet,
        images,
        questionnaire,
        out,
        group_by,
        folds=folds,
        ratios=_read_ratios(ratios),
        seed=seed,
        skip_bad=skip_bad,
        layers=_read_layers(layers),
        resplit=resplit,
        replace_old=replace,
    )
    tell(summary, as_json)


@app.command()
def audit(dataset: Annotated[Path, typer.Argument(help="A dataset folder.")], as_json: Json = False) -> None:
    """Check a dataset again and write its page; exit 1 on any overlap between splits."""
    from residency.data.audit import audit_dataset

    told = ("images", "annotated_images", "samples", "groups", "folds", "unreadable", "twins", "defects", "warnings")
    tell(audit_dataset(dataset), as_json, next=f"residency train RECIPE data={dataset}", lines=told)
    if not as_json:
        out_console.print(f"page: {dataset / 'audit.html'}", markup=False)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (see recipes/).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in train.epochs=3 or fold=all.")] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a model as a recipe says, prove it before the first step, and answer the test split in every way.

    The same command goes on with a run that was cut off. Ctrl-C ends with a checkpoint.
    """
    from residency.config import load_recipe
    from residency.exam import examine_fold
    from residency.folder import run_folders

    asked = load_recipe(recipe, overrides or [])
    done = f"residency evaluate {asked.out / asked.name}"
    results = []
    for fold, run in run_folders(asked):
        say(f"{run}: fold {fold}")
        results.append(examine_fold(asked, run, fold, say=say))
        if results[-1].predicted is None:
            say(f"interrupted; a checkpoint is kept. Go on with: residency train {recipe} {' '.join(overrides or [])}")
            raise typer.Exit(130)
    folds = {"folds": [result.model_dump(mode="json") for result in results]}
    tell(folds if as_json else {"runs": [str(run) for _, run in run_folders(asked)]}, as_json, next=done)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models with a short name: where from, under which licence, how large. Nothing is downloaded."""
    from residency.models.names import FORMULA, KNOWN

    if as_json:
        tell(list(KNOWN.values()), True)
        return
    out_console.print(model_table(list(KNOWN.values())))
    out_console.print(f"{FORMULA}\nnext: residency train RECIPE model=NAME", markup=False)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, or a base model's short name or folder.")],
    data: Annotated[Path | None, typer.Option(help="Another dataset than the run's.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset.")] = "test",
    mode: Annotated[Way, typer.Option("--as", help="One way of answering, or all five.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Folder for the predictions; left out, the run's own.")] = None,
    as_json: Json = False,
) -> None:
    """Answer a split: as tuned, as the base, with a blank image, another patient's image, another question."""
    from residency.exam import predict_model, predict_runs

    modes: tuple[Mode, ...] = MODES if mode == "all" else (mode,)
    runs = [Path(model), *sorted(Path(model).glob("fold-*"))]
    if runs := [run for run in runs if (run / "config.yaml").is_file()]:
        result = predict_runs(runs, data=data, split=split, modes=modes, floors=mode == "all", out=out)
    elif data is None:
        raise UserError(
            f"{model} is not a run, and no dataset was named",
            found="no config.yaml in it" if Path(model).is_dir() else "no such folder",
            do="name a run's folder; or, to ask a base model, a dataset too: --data DATASET --as base",
        )
    elif mode not in ("base", "all"):
        raise UserError(f"{model} is not tuned, so it answers in one way", found=f"--as {mode}", allowed="--as base")
    else:
        result = predict_model(model, data, out or Path("predictions"), split)
    elsewhere = f"{result.files[0]} --data {data or 'DATASET'}" if result.files else ""
    tell(result, as_json, next=f"residency evaluate {elsewhere if data or out else model}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or a predictions file.")],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the dataset, for a run folder.")] = "test",
    as_json: Json = False,
) -> None:
    """Score predictions by question with 95% intervals by group, beside base, majority, blind, shuffled and mute."""
    from residency.evaluate.examine import evaluate_file, evaluate_run

    examination = evaluate_file(run, data) if run.is_file() else evaluate_run(run, data, split=split)
    if as_json:
        tell(examination, True)
        return
    out_console.print(score_table(examination))
    if "own" in examination.ran:
        out_console.print(examination.tallied.sentence(), markup=False)
    if run.is_dir():
        out_console.print(f"next: residency report {run}", markup=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder that was evaluated.")], as_json: Json = False
) -> None:
    """Write the run's report: one page, self-contained, for a clinician to read."""
    from residency.report.card import write_card
    from residency.report.page import write_report

    page = write_report(run)
    written = {"report": str(page)} | ({"card": str(write_card(run))} if (run / "adapter").is_dir() else {})
    tell(written, as_json, next=f"open {page} in a browser")


@app.command()
def pretrain(
    studies: Annotated[list[Path], typer.Argument(help="Folders of `residency phantom`.")],
    out: Annotated[Path, typer.Option(help="Folder for the model; the same command goes on after a stop.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the language model.")] = 2000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train the embedded model from nothing on simulated studies (hours, or minutes on a GPU)."""
    from residency.pretrain.nano import Pretraining, pretrain_nano

    tell(pretrain_nano(studies, out, Pretraining(steps=steps, seed=seed)), as_json)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"residency {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _read_ratios(text: str) -> tuple[float, float, float]:
    """Read three shares, each above 0, and scale them to a sum of 1."""
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        train = val = test = 0.0
    total = train + val + test
    if not (min(train, val, test) > 0 and total < float("inf")):
        raise UserError("--ratios are no shares of train, val and test", found=text, allowed="0.6,0.15,0.25")
    return train / total, val / total, test / total


def _read_layers(text: str) -> "tuple[Layer, ...]":
    from residency.data.wording import LAYERS

    named = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [name for name in named if name not in LAYERS]:
        raise UserError("--layers names an unknown layer", found=unknown, allowed=LAYERS)
    return tuple(layer for layer in LAYERS if layer in named)


def main() -> None:
    """Run the command; a user's error is told in words, with exit code 1 (a check) or 2 (the call)."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    try:
        app()
    except UserError as error:
        stop(error)
    except OSError as error:
        if error.errno is None:  # not the system's, so not the user's to mend
            raise
        what = f"{error.filename or 'a file'} cannot be read or written"
        do = "free some space, or ask for the right to it; then give the same command again"
        stop(UserError(what, found=error.strerror, do=do, exit_code=1))
