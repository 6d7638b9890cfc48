"""Nothing that was kept is changed or deleted: the database itself refuses."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = ("cases", "answers", "reviews")


def upgrade() -> None:
    """Refuse UPDATE and DELETE by triggers."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION residency_keeps() RETURNS trigger AS $$ "
            "BEGIN RAISE EXCEPTION 'append-only'; END $$ LANGUAGE plpgsql"
        )
        for table in TABLES:
            op.execute(
                f"CREATE TRIGGER {table}_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "EXECUTE FUNCTION residency_keeps()"
            )
        return
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
            )
