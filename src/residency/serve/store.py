"""Interpretations and reviews in, rows on disk out: appended, never changed; SQLite in the store's folder, or Postgres.

A write has come back only when it is on disk (SQLite: write-ahead log, synchronous FULL).
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlmodel import Field, Session, SQLModel, col, create_engine, select

from residency.errors import UserError
from residency.files import is_there, read_text, write_text, written_whole
from residency.questionnaire import dump_questionnaire, load_questionnaire
from residency.serve.decoding import Origin
from residency.serve.told import AnswerTold, Interpretation
from residency.types import Questionnaire

DATABASE, QUESTIONNAIRE, IMAGES, SALT = "reviews.sqlite", "questionnaire.yaml", "images", "salt"


class CaseRow(SQLModel, table=True):
    """A picture that was interpreted."""

    __tablename__ = "cases"
    id: str = Field(primary_key=True)
    created: str
    image_sha256: str
    patient: str
    width: int
    height: int
    spacing_row: float | None = None
    spacing_column: float | None = None
    model: str
    questionnaire: str
    seconds: float
    origin: Any = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class AnswerRow(SQLModel, table=True):
    """One answer of a case, as it was told."""

    __tablename__ = "answers"
    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="cases.id")
    question: str
    told: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ReviewRow(SQLModel, table=True):
    """What one author said of one answer, or (question None) of the whole; `answer` is what holds after it."""

    __tablename__ = "reviews"
    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="cases.id")
    created: str
    author: str
    question: str | None = None
    verdict: str | None = None
    text: str | None = None
    answer: Any = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    parts: Any = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    rating: int | None = None
    seconds: float | None = None


class Store:
    """A folder with pictures, the questionnaire and a salt; rows in its SQLite file or in a Postgres database."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        self._writing = Lock()
        self.salt = bytes.fromhex(read_text(folder / SALT))

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield a session whose rows are on disk when the block has ended."""
        with self._writing, Session(self.engine) as session:
            yield session
            session.commit()

    def hide_group(self, group: str) -> str:
        """Return a group's name as it is kept: a salted hash, which still groups but names nobody."""
        return "p" + hmac.new(self.salt, group.encode(), hashlib.sha256).hexdigest()[:16]

    def image_path(self, sha256: str) -> Path:
        """Return where a picture's copy lies."""
        return self.folder / IMAGES / f"{sha256}.png"

    def keep_image(self, data: bytes, sha256: str) -> Path:
        """Write a picture's copy, named by its content, unless it is there."""
        path = self.image_path(sha256)
        if not path.is_file():
            with written_whole(path) as file:
                file.write(data)
        return path

    def keep_case(self, case: Interpretation, patient: str) -> None:
        """Append a case with its answers."""
        row, column = case.spacing_mm or (None, None)
        kept = CaseRow(
            **case.model_dump(include={"image_sha256", "width", "height", "model", "questionnaire", "seconds"}),
            id=case.case,
            created=case.created.isoformat(),
            patient=patient,
            origin=case.origin.model_dump(mode="json", exclude_defaults=True),
            spacing_row=row,
            spacing_column=column,
        )
        with self.writing() as session:
            session.add(kept)
            session.flush()
            session.add_all(
                AnswerRow(case_id=case.case, question=told.question, told=told.model_dump(mode="json"))
                for told in case.answers
            )

    def find_case(self, id: str) -> Interpretation | None:
        """Return a case with its answers."""
        with Session(self.engine) as session:
            row = session.get(CaseRow, id)
            if row is None:
                return None
            told = session.exec(select(AnswerRow).where(AnswerRow.case_id == id).order_by(col(AnswerRow.id))).all()
            return _as_case(row, told)

    def find_group(self, case: str) -> str:
        """Return the name under which a case's group is kept; empty where there is no such case."""
        with Session(self.engine) as session:
            row = session.get(CaseRow, case)
            return row.patient if row else ""

    def list_cases(self, limit: int | None = None, before: datetime | None = None) -> list[Interpretation]:
        """Return cases, the newest first, without their answers; those made before a time (without a zone: UTC)."""
        query = select(CaseRow).order_by(col(CaseRow.created).desc())
        if before:
            at = before.astimezone(UTC) if before.tzinfo else before.replace(tzinfo=UTC)
            query = query.where(CaseRow.created < at.isoformat())
        with Session(self.engine) as session:
            return [_as_case(row, ()) for row in session.exec(query.limit(limit) if limit else query)]

    def list_rows(self) -> tuple[list[CaseRow], list[AnswerRow], list[ReviewRow]]:
        """Return everything that is kept, oldest first."""
        with Session(self.engine) as session:
            cases = list(session.exec(select(CaseRow).order_by(col(CaseRow.created), col(CaseRow.id))))
            answers = list(session.exec(select(AnswerRow).order_by(col(AnswerRow.id))))
            return cases, answers, list(session.exec(select(ReviewRow).order_by(col(ReviewRow.id))))

    def list_reviews(self, case: str | None = None, limit: int | None = None) -> list[ReviewRow]:
        """Return reviews (of one case), oldest first; the last ones where a limit is given."""
        query = select(ReviewRow).order_by(col(ReviewRow.id).desc())
        if case:
            query = query.where(ReviewRow.case_id == case)
        with Session(self.engine) as session:
            return list(session.exec(query.limit(limit) if limit else query))[::-1]


def open_store(folder: Path, questionnaire: Questionnaire | None = None, database: str | None = None) -> Store:
    """Open a store, or (with a questionnaire) make it; its tables are brought to this version.

    Raises:
        UserError: there is none, it holds reviews of another questionnaire, or the database cannot be opened.
    """
    if questionnaire is None and not is_there(folder / SALT):
        raise UserError(
            f"{folder} holds no reviews", found="no store", do="residency serve ... --store FOLDER makes one"
        )
    if questionnaire is not None:
        _prepare_folder(folder, questionnaire)
    engine = make_engine(database or f"sqlite:///{folder / DATABASE}")
    try:
        migrate(engine)
    except DatabaseError as error:
        shown = engine.url.render_as_string(hide_password=True)
        found = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        raise UserError(f"the database {shown} cannot be opened", found=found, exit_code=1) from None
    return Store(folder, engine)


def kept_questionnaire(folder: Path) -> Questionnaire:
    """Return the questionnaire of a store.

    Raises:
        UserError: there is no store.
    """
    if not is_there(folder / QUESTIONNAIRE):
        raise UserError(f"{folder} holds no reviews", found="no store", do="name the --store of residency serve")
    return load_questionnaire(str(folder / QUESTIONNAIRE))


def _prepare_folder(folder: Path, questionnaire: Questionnaire) -> None:
    if folder.is_file():
        raise UserError(f"{folder} is a file", do="name a folder with --store; it is made if it is not there")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / IMAGES).mkdir(exist_ok=True, mode=0o700)
    if not is_there(folder / SALT):
        write_text(folder / SALT, secrets.token_hex(32))
        (folder / SALT).chmod(0o600)
    told = dump_questionnaire(questionnaire)
    kept = folder / QUESTIONNAIRE
    if not is_there(kept):
        write_text(kept, told)
    elif read_text(kept) != told:
        raise UserError(
            f"{folder} holds reviews of another questionnaire",
            found=f"{kept} differs from the model's",
            do="choose another --store, so that one answer sheet can be made of each",
        )


def make_engine(url: str) -> Engine:
    """Return what connects to a database; SQLite's writes wait for the disk.

    Raises:
        UserError: the address is none, or its driver is not installed.
    """
    try:
        made = create_engine(url, pool_pre_ping=True, **({"pool_size": 8} if not url.startswith("sqlite") else {}))
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(
            "--database is no address of a database", found=type(error).__name__,
            allowed="postgresql+psycopg://USER@HOST/NAME (pip install 'residency[serve]')",
        ) from None  # fmt: skip
    if made.dialect.name == "sqlite":

        @event.listens_for(made, "connect")
        def _set_pragmas(connection: Any, _: object) -> None:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
                connection.execute(f"PRAGMA {pragma}")

    return made


def migrate(engine: Engine, to: str = "head") -> None:
    """Apply the steps that the database lacks, up to one.

    Raises:
        UserError: it was made by a newer version of Residency.
    """
    config = Config()
    config.set_main_option("script_location", "residency.serve:migrations")
    config.set_main_option("version_locations", str(Path(__file__).parent / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        at = MigrationContext.configure(connection).get_current_revision()
        known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
        if at is not None and at not in known:
            raise UserError(
                "the reviews were kept by a newer version of Residency", found=f"step {at}", allowed=sorted(known),
                do="pip install --upgrade residency",
            )  # fmt: skip
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _as_case(row: CaseRow, answers: Sequence[AnswerRow]) -> Interpretation:
    spacing = None
    if row.spacing_row is not None and row.spacing_column is not None:
        spacing = (row.spacing_row, row.spacing_column)
    return Interpretation(
        **row.model_dump(include={"image_sha256", "width", "height", "model", "questionnaire", "seconds"}),
        case=row.id,
        created=datetime.fromisoformat(row.created),
        spacing_mm=spacing,
        origin=Origin.model_validate(row.origin or {}),
        answers=tuple(AnswerTold.model_validate(answer.told) for answer in answers),
    )


def tell_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
