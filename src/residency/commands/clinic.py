"""Commands for the clinic's own files: take identifiers out of DICOM, write a model's answers as drafts of reports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from residency.commands.app import Burned, Frames, Json, Salt, app
from residency.tell import tell


@app.command()
def deidentify(
    folder: Annotated[Path, typer.Argument(help="DICOM files, at any depth; they are only read.")],
    out: Annotated[Path, typer.Option(help="A new folder for the copies and removed.csv.")],
    kind: Annotated[Literal["png", "dicom"], typer.Option("--as", help="Write pictures, or DICOM files.")] = "png",
    burned: Burned = "mask",
    frames: Frames = None,
    salt: Salt = None,
    key: Annotated[
        Path | None, typer.Option(help="Also write which file became which copy: it identifies patients.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write de-identified copies: only named attributes stay, identifiers become names, burned-in text is masked."""
    from residency.dicom.copy_folder import copy_folder
    from residency.dicom.folder import Settings
    from residency.dicom.veil import open_veil

    summary = copy_folder(folder, out, kind, Settings(open_veil(salt), burned, frames), key)
    tell(summary, as_json, next=f"look at {out}/removed.csv and at the pictures before they leave the house")


@app.command()
def draft(
    predictions: Annotated[Path, typer.Argument(help="A run's predictions/SPLIT.own.jsonl.")],
    data: Annotated[Path, typer.Option(help="The dataset that was answered.")],
    out: Annotated[Path, typer.Option(help="A new folder for the drafts.")],
    kind: Annotated[
        Literal["fhir", "sr"], typer.Option("--as", help="FHIR R4 bundles, or DICOM structured reports.")
    ] = "fhir",
    sources: Annotated[
        Path | None,
        typer.Option(help="The original DICOM files: drafts then name their patient and UIDs, not hashed names."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model's answers as drafts of reports: preliminary, the model named as the device, not for diagnosis."""
    from residency.drafts.write import write_drafts

    tell(write_drafts(predictions, data, kind, out, sources), as_json, next="have a person review each draft")
