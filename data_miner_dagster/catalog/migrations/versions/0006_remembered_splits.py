"""Splits and generations of videos for the life of a project, and digests in place of forgotten names."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
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
    op.create_table(
        "video_generations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_generations")),
        sa.UniqueConstraint("project_name", "video_key", name=op.f("uq_video_generations_project_name_video_key")),
    )
    forgotten = sa.table("forgotten", sa.column("subject", sa.String))
    connection = op.get_bind()
    for subject in connection.scalars(sa.select(forgotten.c.subject)).all():
        kind, _, name = subject.partition("/")
        digest = f"{kind}/{hashlib.sha256(name.encode()).hexdigest()}"
        connection.execute(sa.update(forgotten).where(forgotten.c.subject == subject).values(subject=digest))


def downgrade() -> None:
    """Revert this revision."""
    op.drop_table("video_generations")
    op.drop_table("video_splits")
