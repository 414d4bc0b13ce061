"""The disk space that each video takes under the root."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stored_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("frames_bytes", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("reserved_bytes", sa.BigInteger(), nullable=True))
    # Until now nothing removed the file of a video. A folder of pictures has no such file.
    op.execute("UPDATE videos SET stored_bytes = size_bytes WHERE sha256 IS NOT NULL AND file_name <> ''")


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.drop_column("reserved_bytes")
        batch_op.drop_column("frames_bytes")
        batch_op.drop_column("stored_bytes")
