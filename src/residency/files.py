"""Our own files: text, JSON and JSON lines in, a whole file on disk out, or none at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, EPERM
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp
from typing import IO, TypeVar

from pydantic import ValidationError

from residency.errors import CheckFailed, UserError
from residency.types import Problem, Record, Source

R = TypeVar("R", bound=Record)
SHOWN_LINES = 5
"""So many bad lines of a file are shown; where there are more, it is most likely another file."""


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` for writing; it takes the name `path` only when the block ends without an error.

    Raises:
        UserError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise UserError(
            f"{path} cannot be written",
            found=error.strerror,
            do="free some space, or choose another folder with --out",
            exit_code=1,
        ) from error


def hidden_folder(out: Path) -> Path:
    """Make an empty hidden folder beside `out`; who asks for it removes it.

    Raises:
        UserError: it cannot be made (permission, no space).
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be made", found=error.strerror, do="choose another --out", exit_code=1) from None


@contextmanager
def new_folder(out: Path, replace_old: bool) -> Iterator[Path]:
    """Yield a hidden folder beside `out` that takes its name when the block ends without an error.

    Raises:
        UserError: the folder cannot be made (permission, no space); nothing is left behind.
    """
    folder = hidden_folder(out)
    try:
        yield folder
        folder.chmod(0o755)
        if replace_old and out.is_dir():
            old = hidden_folder(out)
            out.rename(old / out.name)
            folder.rename(out)
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def walk_folder(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder, and each one below it that is not hidden, with the names of its files, in order.

    Raises:
        UserError: one of them cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"the folder {error.filename} cannot be listed", found=error.strerror, do="ask for the right")

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield Path(folder), sorted(names)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with written_whole(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, indented, any language readable."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines atomically."""
    with written_whole(path) as file:
        for record in records:
            file.write(record.line().encode() + b"\n")


def is_there(path: Path) -> bool:
    """Tell whether a path exists; unlike `Path.exists`, one that we may not look at is an error.

    Raises:
        UserError: a folder above it gives no permission.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from None
    return True


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> UserError:
    """Return the error for a file that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return UserError(f"{path} is no text", found=f"byte {error.start} is not UTF-8", do="save it as UTF-8 text")
    do = "ask for the right to read it, or close the program that holds it" if error.errno in (EACCES, EPERM) else None
    return UserError(f"{path} cannot be read", found=error.strerror, do=do or "see that it is there, and a file")


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None


def read_json(path: Path, kind: type[R]) -> R:
    """Read a JSON file into a record.

    Raises:
        UserError: it cannot be read, or is no such record.
    """
    try:
        return kind.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path} is damaged, or not what its name says",
            found=f"{where}: {first['msg']}".lstrip(": "),
            do="make it anew with the command that writes it",
            exit_code=1,
        ) from None


def read_lines(path: Path, kind: type[R]) -> list[R]:
    """Read JSON lines into records.

    Raises:
        UserError: the file cannot be read.
        CheckFailed: lines that are no such record, all of them, with their numbers.
    """
    records, problems = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = Source(file=str(path), cell=f"line {number}")
            where = ".".join(str(part) for part in first["loc"])
            problems.append(Problem(kind="bad-line", message=f"{where}: {first['msg']}".lstrip(": "), source=place))
    if problems:
        do = "name the file that is meant, or make it anew with the command that writes it"
        raise CheckFailed("readable-lines", problems, do=do, most=SHOWN_LINES)
    return records


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
