"""Cases, their answers, and reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cases",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created", sa.String(40), nullable=False, index=True),
        sa.Column("image_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("spacing_row", sa.Float),
        sa.Column("spacing_column", sa.Float),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("questionnaire", sa.String(200), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("case_id", sa.String(32), sa.ForeignKey("cases.id"), nullable=False, index=True),
        sa.Column("question", sa.String(100), nullable=False),
        sa.Column("told", sa.JSON, nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("case_id", sa.String(32), sa.ForeignKey("cases.id"), nullable=False, index=True),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("question", sa.String(100)),
        sa.Column("verdict", sa.String(10)),
        sa.Column("text", sa.Text),
        sa.Column("answer", sa.JSON),
        sa.Column("parts", sa.JSON),
        sa.Column("rating", sa.Integer),
        sa.Column("seconds", sa.Float),
    )
