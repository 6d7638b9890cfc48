"""What is kept is kept, on SQLite and on Postgres alike: appended, never changed, brought from older versions."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DatabaseError

from residency.errors import UserError
from residency.files import sha256_text
from residency.questionnaire import load_questionnaire
from residency.serve.pictures import Refused
from residency.serve.reviews import AnswerReview, ReviewSent, keep_review
from residency.serve.store import DATABASE, Store, make_engine, migrate, open_store, tell_now
from residency.serve.summary import summarize
from residency.serve.told import AnswerTold, Interpretation
from tests.run_command import run_residency
from tests.serve.postgres import postgres_server
from tests.serve.server import serving

FETAL8 = load_questionnaire("fetal8")


@dataclass(frozen=True)
class Place:
    """Where a database can be: its address (None: SQLite in the store's folder)."""

    folder: Path
    database: str | None

    def open(self) -> Store:
        return open_store(self.folder, FETAL8, self.database)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # short: a socket's path has 107 bytes
        Path(folder).chmod(0o755)
        with postgres_server(Path(folder) / "p") as address:
            yield address


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path / "store", None)
    address: str = request.getfixturevalue("postgres")
    name = f"t{sha256_text(str(tmp_path))[:12]}"
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return Place(tmp_path / "store", address.replace("@/postgres", f"@/{name}"))


def make_case(number: int = 1) -> Interpretation:
    return Interpretation(
        case=f"{number:016x}",
        created=tell_now(),
        image_sha256=f"{number:064x}",
        width=200,
        height=100,
        spacing_mm=(0.1, 0.2),
        model="nano",
        questionnaire="fetal8",
        answers=(
            AnswerTold(
                question="q6", wording="?", type="ordinal", answer="good image quality", text="good image quality",
                confidence=0.9, confidence_words="sure", sure=True, candidates={"good image quality": 0.9},
            ),
        ),
        seconds=0.25,
    )  # fmt: skip


def say(store: Store, number: int, author: str, verdict: str, words: str | None = None) -> None:
    answer = AnswerReview(question="q6", verdict=verdict, text=words)  # type: ignore[arg-type]
    keep_review(store, FETAL8, ReviewSent(case=f"{number:016x}", answers=(answer,), rating=4), author)


def test_a_case_and_its_reviews_are_there_after_opening_again(place: Place) -> None:
    case = make_case()
    store = place.open()
    store.keep_case(case, "p1")
    say(store, 1, "A", "edit", "medium image quality (shadowing)")
    store.engine.dispose()
    again = place.open()
    assert again.find_case(case.case) == case
    assert again.list_cases() == [case.model_copy(update={"answers": ()})]
    rating, edit = again.list_reviews(case.case)
    assert (rating.rating, edit.text, edit.parts) == (
        4,
        "medium image quality (shadowing)",
        {"q6.factors": ["shadowing"]},
    )
    assert again.find_case("f" * 16) is None
    again.engine.dispose()


def test_nothing_kept_can_be_changed_or_deleted(place: Place) -> None:
    store = place.open()
    store.keep_case(make_case(), "p1")
    say(store, 1, "A", "accept")
    for statement in ("UPDATE reviews SET author = 'B'", "DELETE FROM reviews", "DELETE FROM answers",
                      "UPDATE cases SET model = 'x'"):  # fmt: skip
        with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
            connection.execute(text(statement))
    store.engine.dispose()


def test_a_refused_review_leaves_nothing(place: Place) -> None:
    store = place.open()
    store.keep_case(make_case(), "p1")
    with pytest.raises(Refused, match="nearest"):
        say(store, 1, "A", "edit", "goodish quality")
    with pytest.raises(Refused):
        say(store, 2, "A", "accept")
    assert store.list_reviews() == []
    store.engine.dispose()


def test_agreement_is_kappa_by_patient(place: Place) -> None:
    store = place.open()
    for number in range(1, 9):
        store.keep_case(make_case(number), f"p{number}")
        say(store, number, "A", "edit", "good image quality" if number % 2 else "low image quality")
        agrees = number != 8
        say(store, number, "B", "edit", "good image quality" if (number % 2 == 1) == agrees else "low image quality")
    found = {one.question: one for one in summarize(store, FETAL8).questions}["q6"]
    assert found.kappa.value == pytest.approx(0.75)
    assert found.kappa.low is not None and found.kappa.low < 0.75 < (found.kappa.high or 0)
    assert (found.kappa.n, found.kappa.groups, found.same) == (8, 8, 7 / 8)
    store.engine.dispose()


def test_the_export_command_reads_either_database(place: Place, tmp_path: Path) -> None:
    store = place.open()
    store.keep_case(make_case(), "p1")
    say(store, 1, "A", "accept")
    where = ["--store", place.folder, *(["--database", place.database] if place.database else [])]
    done = run_residency("reviews", "export", *where, "--out", tmp_path / "answers.xlsx")
    assert done.code == 0, done.err
    assert "answers: 1" in done.out
    store.engine.dispose()


def test_an_older_store_is_brought_to_this_version_with_its_rows(place: Place) -> None:
    place.folder.mkdir()
    engine = make_engine(place.database or f"sqlite:///{place.folder / DATABASE}")
    migrate(engine, to="0001")
    assert "origin" not in {column["name"] for column in inspect(engine).get_columns("cases")}
    with engine.begin() as connection:
        connection.execute(text(OLD_ROW))
    engine.dispose()
    store = place.open()
    assert [(case.model, case.origin.kind) for case in store.list_cases()] == [("old", "picture")]
    with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
        connection.execute(text("DELETE FROM cases"))
    store.engine.dispose()


OLD_ROW = (
    "INSERT INTO cases (id, created, image_sha256, patient, width, height, model, questionnaire, seconds) "
    "VALUES ('00', '2026-01-01T00:00:00+00:00', 'x', 'p', 1, 1, 'old', 'fetal8', 1)"
)


def test_a_store_of_a_newer_version_is_refused(place: Place) -> None:
    store = place.open()
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.engine.dispose()
    with pytest.raises(UserError, match="newer version"):
        place.open()


def test_the_tables_are_what_the_rows_say(place: Place) -> None:
    """The migrations, and nothing else, make the tables; the classes name the same columns."""
    from sqlmodel import SQLModel

    store = place.open()
    found = inspect(store.engine)
    for name, table in SQLModel.metadata.tables.items():
        assert {column["name"] for column in found.get_columns(name)} == {column.name for column in table.columns}
        nullable = {column["name"] for column in found.get_columns(name) if column["nullable"]}
        assert nullable == {column.name for column in table.columns if column.nullable}
    store.engine.dispose()


def test_the_server_keeps_its_reviews_in_postgres(
    postgres: str, tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDENCY_DATABASE", postgres)
    with serving(tmp_path) as server:
        case = server.interpret(pictures[0])["case"]
        assert server.review(case, rating=5, author="A").status_code == 201
        assert len(server.client.get("/v1/reviews").json()["reviews"]) == 1
    assert not (tmp_path / "store" / "reviews.sqlite").exists()
    done = run_residency("reviews", "show", "--store", tmp_path / "store")
    assert "1 of 1 cases reviewed by 1 reviewer(s)" in done.out


def test_a_database_that_is_none_is_told(tmp_path: Path) -> None:
    for address, said in (("nonsense", "no address"), ("postgresql+psycopg://nobody@/x?host=/nowhere", "cannot be")):
        with pytest.raises(UserError, match=said):
            open_store(tmp_path / "s", FETAL8, address)
