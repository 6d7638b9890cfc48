"""What an upload was: a picture or DICOM, and what was removed from it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; older cases were pictures."""
    op.add_column("cases", sa.Column("origin", sa.JSON))
