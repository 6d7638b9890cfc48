"""Every command, assembled: arguments in, one call each, and what it did, wrote, and what comes next out."""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from residency import __version__
from residency.commands.app import Json, app
from residency.errors import UserError
from residency.processes import process_count
from residency.tell import say, tell


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes less: fewer patients, one epoch.")] = False,
    as_json: Json = False,
) -> None:
    """Do the whole job on simulated studies, offline, with the embedded model: studies to report."""
    from residency.demo import run_demo

    tell(run_demo(out, quick=quick, say=say), as_json, lines=("finding", "report"))


# --help lists the commands in this order
for about in ("data", "knowledge", "retrieval", "tuning", "exam", "evidence", "delivery", "clinic", "serve"):
    import_module(f"residency.commands.{about}")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"residency {__version__}")
        raise typer.Exit


SHARED = ("train", "predict")
"""The commands whose work several processes can share."""


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    verb = context.invoked_subcommand
    if process_count() > 1 and verb not in SHARED:
        do = "give the command without torchrun or accelerate launch"
        raise UserError(f"residency {verb} works in one process", found=f"{process_count()} processes", do=do)


def run_command() -> None:
    """Run what the arguments name."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    app()
