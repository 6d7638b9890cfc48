"""What the command asks for in, a server that runs until it is stopped out."""

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from residency.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from residency.serve.interpret import Interpreter
    from residency.serve.logs import Logs
    from residency.serve.people import People


@dataclass(frozen=True)
class Wanted:
    """The options of `residency serve`."""

    model: str
    data: Path | None = None
    questionnaire: str | None = None
    port: int = 8000
    host: str = "127.0.0.1"
    store: Path | None = None
    database: str | None = None
    tokens: Path | None = None
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    batch: int = 8
    places: int = 64
    threads: int | None = None
    timeout: float = 60.0
    most_mb: int = 32
    upload_seconds: float = 30.0
    masking: Literal["dicom", "all", "none"] = "dicom"
    salt: Path | None = None


def require_packages() -> None:
    """Make sure that the extra is there.

    Raises:
        MissingExtra: a package of it is not installed.
    """
    for package in ("fastapi", "uvicorn", "sqlmodel", "alembic", "prometheus_client", "python_multipart"):
        if find_spec(package) is None:
            raise MissingExtra(package, "serve")


def run_server(wanted: Wanted, say: Callable[[str], None]) -> None:
    """Load the model, open the store, and serve until a signal; what waits is then still answered.

    Raises:
        UserError: the model, its data, the store, the tokens or the port cannot be used.
        MissingExtra: the extra `serve` is not installed.
    """
    require_packages()
    import torch

    from residency.serve.interpret import open_interpreter
    from residency.serve.people import People, read_people

    people = read_people(wanted.tokens) if wanted.tokens else People({})
    check_certificate(wanted.certificate, wanted.key)
    check_salt(wanted.salt)
    listening = listen_at(wanted.host, wanted.port)
    torch.set_num_threads(wanted.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    interpreter = open_interpreter(wanted.model, wanted.data, wanted.questionnaire)
    serve_model(interpreter, wanted, people, listening, say)


def serve_model(
    interpreter: "Interpreter", wanted: Wanted, people: "People", listening: socket.socket, say: Callable[[str], None]
) -> None:
    """Serve a model that is in memory at a socket, until a signal.

    Raises:
        UserError: the store cannot be used.
    """
    from residency.dicom.veil import Veil, open_veil
    from residency.serve.api import create_app
    from residency.serve.decoding import Decoder
    from residency.serve.guard import LOOPBACK, Rules
    from residency.serve.logs import Logs, Meters
    from residency.serve.people import Entry, People, hash_token, make_token
    from residency.serve.service import Service
    from residency.serve.store import open_store
    from residency.serve.worker import Worker

    store = open_store(wanted.store or _default_store(wanted.model), interpreter.questionnaire, wanted.database)
    interpreter.know_groups(store.hide_group)
    told = None
    if wanted.host not in LOOPBACK and not people.entries:
        told = make_token()
        people = People({"admin": Entry(role="admin", sha256=hash_token(told))})
    logs = Logs()
    veil = open_veil(wanted.salt) if wanted.salt else Veil(store.salt)
    decoder = Decoder(veil, wanted.masking, wanted.most_mb << 20)
    worker = Worker(interpreter, wanted.batch, wanted.places)
    service = Service(interpreter, worker, store, decoder, Meters(), wanted.timeout)
    names = (*LOOPBACK, wanted.host, socket.gethostname().lower(), *(name.lower() for name in wanted.hosts))
    app = create_app(service, Rules(people, names, wanted.most_mb << 20, body_seconds=wanted.upload_seconds), logs)
    say(f"{interpreter.name} answers {len(interpreter.questions)} questions; reviews in {store.folder}")
    if told:
        say(f"token (admin), told once: {told}")
    scheme = "https" if wanted.certificate else "http"
    say(f"open {scheme}://{wanted.host}:{listening.getsockname()[1]}/  (Ctrl-C ends it)")
    _run(app, wanted, logs, listening)


def _run(app: "FastAPI", wanted: Wanted, logs: "Logs", listening: socket.socket) -> None:
    """Run the web server; its own log lines become ours."""
    import uvicorn

    from residency.serve.logs import JsonHandler

    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = [JsonHandler(logs)] if name == "uvicorn" else []
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=60,
        timeout_keep_alive=20, ssl_certfile=wanted.certificate, ssl_keyfile=wanted.key, lifespan="on",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def check_certificate(certificate: Path | None, key: Path | None) -> None:
    """See that they are there, before a model is loaded for nothing.

    Raises:
        UserError: one is not there, or there is a key alone.
    """
    if certificate is None:
        if key:
            raise UserError("there is a key and no certificate", found=key, do="--certificate FILE.pem beside --key")
        return
    if lost := [str(file) for file in (certificate, key) if file and not file.is_file()]:
        raise UserError("no such certificate or key", found=lost, do="--certificate FILE.pem --key FILE.key")


def check_salt(salt: Path | None) -> None:
    """See that the secret is there: one that is made now is not what the dataset's patients were named under.

    Raises:
        UserError: it is not there.
    """
    if salt and not salt.is_file():
        raise UserError("no such salt", found=salt, do="name the file of `residency ingest --salt`, or leave it out")


def _default_store(model: str) -> Path:
    return Path(model) / "reviews" if (Path(model) / "config.yaml").is_file() else Path("residency-reviews")


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket on the address, before a model is loaded for nothing.

    Raises:
        UserError: the address is taken, or not this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        do = "choose another --port (0: any that is free) or --host"
        raise UserError(f"nobody can listen at {host}:{port}", found=error.strerror, do=do) from None
    return listening
