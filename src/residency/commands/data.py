"""Commands about data: simulate studies, compile a dataset, check it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from residency.commands.app import Burned, Frames, Json, Salt, Seed, app
from residency.errors import UserError
from residency.tell import out_console, tell

if TYPE_CHECKING:
    from residency.data.wording import Layer
    from residency.dicom.folder import Settings


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
        str | None,
        typer.Option(
            help="What a split must not tear apart: column:NAME, pattern:REGEX, image (accepts the risk), or dicom "
            "(the patient in the file; taken for DICOM if left out)."
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Answers: .xlsx, .csv, .tsv, .jsonl, or a published layout's file or folder.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Boxes that lie beside a sheet: VOC, COCO, YOLO, or a JSON list.")
    ] = None,
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
    accept: Annotated[
        list[str] | None, typer.Option(help="A risk by name: published-leak keeps published splits that share images.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="A published layout (docs/sources.md) such as vqa-rad; auto finds it out.")
    ] = "auto",
    question: Annotated[
        list[str] | None, typer.Option(help="For a table of labels: `COLUMN: What is asked?`; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="For masks: `LEVEL: LABEL`, a grey level or R,G,B; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many rows, drawn by the seed (path-vqa and the like).")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(help="Of images with boxes: boxes (labels named), count, description; may be repeated."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put the dataset in the place of an older one.")] = False,
    burned: Burned = "mask",
    frames: Frames = None,
    salt: Salt = None,
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
        keep_leak=_read_risks(accept or []),
        format=format,
        boxes=boxes,
        questions=question or [],
        labels=label or [],
        limit=limit,
        asks=ask or [],
        dicom=_read_dicom(images, burned, frames, salt),
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


@app.command("label-studio")
def label_studio(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path, typer.Option(help="The tasks, JSON; the labeling configuration lies beside it.")],
    predictions: Annotated[
        Path | None, typer.Option(help="A run's predictions/SPLIT.own.jsonl, for a person to correct.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a dataset as Label Studio's tasks, to be annotated or corrected there and ingested again."""
    from residency.data.studio import write_studio

    summary = write_studio(dataset, out, predictions)
    tell(summary, as_json, next="residency ingest --sheet EXPORT.json --format label-studio --images ...")


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


def _read_dicom(images: Path, burned: Burned, frames: int | None, salt: Path | None) -> "Settings | None":
    """Return how DICOM files are read, None where nothing was said about it."""
    from residency.data.decode import is_dicom_folder
    from residency.dicom.folder import Settings
    from residency.dicom.veil import open_veil

    if burned == "mask" and frames is None and salt is None:
        return None
    if images.is_dir() and not is_dicom_folder(images):
        what = "--burned, --frames and --salt are about DICOM files"
        raise UserError(what, found=f"{images} holds none", do="leave them out")
    return Settings(open_veil(salt), burned, frames)


def _read_risks(named: list[str]) -> bool:
    """Say whether a published split that leaks is accepted."""
    if unknown := [name for name in named if name != "published-leak"]:
        raise UserError("--accept names no risk of an ingest", found=unknown, allowed=["published-leak"])
    return bool(named)


def _read_layers(text: str) -> "tuple[Layer, ...]":
    from residency.data.wording import LAYERS

    named = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [name for name in named if name not in LAYERS]:
        raise UserError("--layers names an unknown layer", found=unknown, allowed=LAYERS)
    return tuple(layer for layer in LAYERS if layer in named)
