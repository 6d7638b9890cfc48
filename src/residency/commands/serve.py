"""Commands about the clinic: serve a model, give tokens, take the reviews out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from residency.commands.app import Json, app
from residency.tell import say, tell

Role = Literal["reader", "reviewer", "admin"]


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
        str | None, typer.Option(help="Reviews in Postgres: postgresql+psycopg://USER@HOST/NAME.")
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
) -> None:
    """Interpret uploaded images on this machine: a page and an API, reviews kept. Not for diagnosis."""
    from residency.serve.run import Wanted, run_server

    run_server(
        Wanted(
            model=model, data=data, questionnaire=questionnaire, port=port, host=host, store=store, database=database,
            tokens=tokens, hosts=tuple(allow_host or ()), certificate=certificate, key=key, batch=batch,
            places=places, threads=threads, timeout=timeout, most_mb=most_mb,
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
