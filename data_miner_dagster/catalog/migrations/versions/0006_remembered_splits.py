"""The split of a video, for the life of its project."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "video_splits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_splits")),
        sa.UniqueConstraint(
            "project_name", "shares", "video_key", name=op.f("uq_video_splits_project_name_shares_video_key")
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("video_splits")
