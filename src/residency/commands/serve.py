"""Commands about the clinic: serve a model, give tokens, take the reviews out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from residency.commands.app import Json, app
from residency.tell import out_console, say, tell

if TYPE_CHECKING:
    from residency.serve.summary import Summary

Role = Literal["reader", "reviewer", "admin"]
DATABASE = "RESIDENCY_DATABASE"
"""Where a database's address can stand instead, so that a password is in no list of processes."""


@app.command()
def serve(
    model: Annotated[str, typer.Option(help="A run's folder, or a base model's short name (nano) or folder.")],
    data: Annotated[
        Path | None, typer.Option(help="The dataset, where it is not the run's own; a base model's questions.")
    ] = None,
    questionnaire: Annotated[str | None, typer.Option(help="For a base model: fetal8 or a YAML file.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="Any address but this machine's own asks for tokens.")] = "127.0.0.1",
    store: Annotated[
        Path | None, typer.Option(help="Folder for pictures and reviews; left out, RUN/reviews or residency-reviews.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(envvar=DATABASE, help="Reviews in Postgres: postgresql+psycopg://USER:PASSWORD@HOST/NAME."),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Tokens file (residency token); left out, one token is made and told.")
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A host name to answer to; may be repeated.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM), with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that the model reads at once.")] = 8,
    places: Annotated[int, typer.Option(min=1, help="Pictures that may wait; more are refused (429).")] = 64,
    threads: Annotated[
        int | None, typer.Option(min=1, help="The model's threads; left out, the cores less one.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a request waits for its answers.")] = 60.0,
    most_mb: Annotated[int, typer.Option(min=1, help="MB that an upload may have.")] = 32,
    upload_seconds: Annotated[float, typer.Option(min=1, help="Seconds that an upload may take.")] = 30.0,
    mask_text: Annotated[
        Literal["dicom", "all", "none"], typer.Option(help="Uploads in which burned-in text is found and masked.")
    ] = "dicom",
    salt: Annotated[
        Path | None, typer.Option(help="The file of `ingest --salt`: DICOM's patients are called as the dataset does.")
    ] = None,
) -> None:
    """Interpret uploaded images on this machine: a page and an API, reviews kept. Not for diagnosis."""
    from residency.serve.run import Wanted, run_server

    run_server(
        Wanted(
            model=model, data=data, questionnaire=questionnaire, port=port, host=host, store=store, database=database,
            tokens=tokens, hosts=tuple(allow_host or ()), certificate=certificate, key=key, batch=batch,
            places=places, threads=threads, timeout=timeout, most_mb=most_mb, upload_seconds=upload_seconds,
            masking=mask_text, salt=salt,
        ),
        say,
    )  # fmt: skip


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whose it is; reviews carry this name.")],
    tokens: Annotated[Path, typer.Option(help="The tokens file; it holds names, roles and hashes, no token.")],
    role: Annotated[
        Role, typer.Option(help="reader: ask and look; reviewer: review; admin: export, meters.")
    ] = "reader",
    as_json: Json = False,
) -> None:
    """Give a person a token for the server; it is told once and kept nowhere."""
    from residency.serve.people import add_person

    tell({"name": name, "role": role, "token": add_person(tokens, name, role)}, as_json)


reviews = typer.Typer(help="Take a server's reviews out, or look at them.", no_args_is_help=True)
app.add_typer(reviews, name="reviews")
Kept = Annotated[Path, typer.Option(help="The server's folder for pictures and reviews.")]
Database = Annotated[
    str | None, typer.Option(envvar=DATABASE, help="Where they are in Postgres: postgresql+psycopg://USER@HOST/NAME.")
]


@reviews.command("export")
def export_reviews(
    store: Kept,
    out: Annotated[Path, typer.Option(help="answers.xlsx, or a .json for Label Studio.")] = Path("answers.xlsx"),
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Write the reviews as the next answer sheet, or as Label Studio's tasks."""
    from residency.serve.run import require_packages

    require_packages()
    from residency.serve.sheet import export_sheet, export_studio
    from residency.serve.store import kept_questionnaire, open_store

    write = export_studio if out.suffix.lower() == ".json" else export_sheet
    tell(write(open_store(store, database=database), kept_questionnaire(store), out), as_json)


@reviews.command("show")
def show_reviews(store: Kept, database: Database = None, as_json: Json = False) -> None:
    """Show agreement between reviewers, ratings, latency, and how answers drift over time."""
    from residency.serve.run import require_packages

    require_packages()
    from residency.serve.store import kept_questionnaire, open_store
    from residency.serve.summary import summarize

    found = summarize(open_store(store, database=database), kept_questionnaire(store))
    if as_json:
        tell(found, True)
        return
    out_console.print("\n".join(found.sentences()), markup=False)
    out_console.print(_review_table(found))
    out_console.print(f"note: {found.note}", markup=False)


def _review_table(found: "Summary") -> Table:
    """Return each question's verdicts, agreement and drift, a line each."""
    heads = ["question", "accepted", "edited", "rejected", "same", "kappa", "95% interval", "pairs", "drift", "p"]
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in found.questions:
        ends = "-" if one.kappa.low is None else f"[{one.kappa.low:.2f}, {one.kappa.high:.2f}]"
        figures = [_shown(one.same), _shown(one.kappa.value), ends, str(one.kappa.n)]
        counts = map(str, (one.accept, one.edit, one.reject))
        name = f"{one.question} {one.heading}"[:40]
        table.add_row(name, *counts, *figures, _shown(one.drift.distance), _shown(one.drift.p))
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@app.command("queue")
def queue_images(
    source: Annotated[Path, typer.Argument(help="A dataset (its images without answers), or a folder of images.")],
    model: Annotated[str, typer.Option(help="A run's folder, or a base model's short name (nano) or folder.")],
    out: Annotated[Path, typer.Option(help="A .csv with what spoke for each image, or a .xlsx to fill in.")] = Path(
        "queue.csv"
    ),
    data: Annotated[Path | None, typer.Option(help="The dataset, where it is not the run's own.")] = None,
    balance: Annotated[
        str | None, typer.Option(help="A closed question whose rare answers come first; left out, the first one.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="How many images the round takes; left out, all.")] = None,
    as_json: Json = False,
) -> None:
    """Rank images without answers for the next annotation round: unsure, unlike what is known, of rare answers."""
    from residency.serve.run import require_packages

    require_packages()
    from residency.serve.rounds import plan_round

    tell(plan_round(source, model, out, data=data, balance=balance, most=most), as_json)
