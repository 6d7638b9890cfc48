"""A folder in, a Postgres server of Debian's package running in it out; or why there is none."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"


def find_programs() -> Path:
    """Return the folder of Postgres's programs; a test that needs them is skipped where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("Postgres is not installed (Debian's package: postgresql)")
    return found[-1].parent


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run a server that listens at a socket in the folder alone; yields its address."""
    programs, data, sockets = find_programs(), folder / "data", folder / "s"
    owner = _hand_over(folder, sockets)
    _run(owner, programs / "initdb", "-D", data, "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync")
    options = f"-k {sockets} -c listen_addresses= -c fsync=off"
    _run(owner, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://{USER}@/postgres?host={sockets}"
    finally:
        _run(owner, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def _hand_over(folder: Path, sockets: Path) -> tuple[str, ...]:
    """Give the folder to the user that Postgres runs as: it refuses to be run by root."""
    sockets.mkdir(parents=True)
    if os.getuid() != 0:
        return ()
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        pytest.skip(f"run by root, and there is no user {USER} to run Postgres as")
    for place in (folder, sockets):
        shutil.chown(place, entry.pw_uid, entry.pw_gid)
    return ("runuser", "-u", USER, "--")


def _run(owner: tuple[str, ...], *command: object) -> None:
    subprocess.run([*owner, *map(str, command)], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")
