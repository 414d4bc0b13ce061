"""Site gates, download starts, prescreenings, duplicates."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "download_starts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_download_starts")),
    )
    with op.batch_alter_table("download_starts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_download_starts_site_started_at"), ["site", "started_at"], unique=False)

    op.create_table(
        "site_gates",
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("closed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("num_trips", sa.Integer(), nullable=False),
        sa.Column("next_start_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("site", name=op.f("pk_site_gates")),
    )
    op.create_table(
        "prescreenings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("num_pictures", sa.Integer(), nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_name"], ["projects.name"], name=op.f("fk_prescreenings_project_name_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prescreenings")),
        sa.UniqueConstraint("project_name", "video_key", name=op.f("uq_prescreenings_project_name_video_key")),
    )
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("content_fingerprint", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("duplicate_of", sa.String(length=200), nullable=True))
        batch_op.create_index(batch_op.f("ix_videos_content_fingerprint"), ["content_fingerprint"], unique=False)


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_videos_content_fingerprint"))
        batch_op.drop_column("duplicate_of")
        batch_op.drop_column("content_fingerprint")

    op.drop_table("prescreenings")
    op.drop_table("site_gates")
    with op.batch_alter_table("download_starts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_download_starts_site_started_at"))

    op.drop_table("download_starts")
