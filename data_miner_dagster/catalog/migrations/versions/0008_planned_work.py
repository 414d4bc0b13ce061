"""Planned work: pending videos, batches, leases of runs, failures, and holds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("item", sa.String(length=200), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("basis", sa.String(length=64), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_failed_at"), ["failed_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempts_stage_item"), ["stage", "item"], unique=False)

    op.create_table(
        "holds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=True),
        sa.Column("stage", sa.String(length=32), nullable=True),
        sa.Column("video_key", sa.String(length=200), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_holds_video_key"), ["video_key"], unique=False)

    op.create_table(
        "run_leases",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(length=64), nullable=False),
        sa.Column("job", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=100), nullable=True),
        sa.Column("num_done", sa.Integer(), nullable=False),
        sa.Column("num_total", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_leases")),
    )
    op.create_table(
        "stage_gates",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("num_trips", sa.Integer(), nullable=False),
        sa.Column("probe_batch", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("stage", name=op.f("pk_stage_gates")),
    )
    op.create_table(
        "suspects",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("item", sa.String(length=200), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("num_deaths", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "item", name=op.f("pk_suspects")),
    )
    op.create_table(
        "work_bases",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("basis", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("stage", name=op.f("pk_work_bases")),
    )
    op.create_table(
        "work_batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_batches")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("work_batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_work_batches_ended_at"), ["ended_at"], unique=False)

    op.create_table(
        "batch_items",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("item", sa.String(length=200), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["work_batches.id"], name=op.f("fk_batch_items_batch_id_work_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stage", "item", name=op.f("pk_batch_items")),
    )
    with op.batch_alter_table("batch_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_batch_items_batch_id"), ["batch_id"], unique=False)

    op.create_table(
        "pending_work",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_name"], ["projects.name"], name=op.f("fk_pending_work_project_name_projects"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["video_key"], ["videos.key"], name=op.f("fk_pending_work_video_key_videos"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stage", "project_name", "video_key", name=op.f("pk_pending_work")),
    )
    with op.batch_alter_table("pending_work", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_pending_work_project_name_due_at"), ["project_name", "due_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_pending_work_stage_project_name_due_at"), ["stage", "project_name", "due_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_pending_work_video_key"), ["video_key"], unique=False)

    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.add_column(sa.Column("content_version", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("building_basis", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("built_basis", sa.String(length=64), nullable=True))

    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("frames_basis", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("embedding_basis", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.drop_column("embedding_basis")
        batch_op.drop_column("frames_basis")

    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.drop_column("built_basis")
        batch_op.drop_column("building_basis")
        batch_op.drop_column("content_version")

    with op.batch_alter_table("pending_work", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pending_work_video_key"))
        batch_op.drop_index(batch_op.f("ix_pending_work_stage_project_name_due_at"))
        batch_op.drop_index(batch_op.f("ix_pending_work_project_name_due_at"))

    op.drop_table("pending_work")
    with op.batch_alter_table("batch_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_batch_items_batch_id"))

    op.drop_table("batch_items")
    with op.batch_alter_table("work_batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_work_batches_ended_at"))

    op.drop_table("work_batches")
    op.drop_table("work_bases")
    op.drop_table("suspects")
    op.drop_table("stage_gates")
    op.drop_table("run_leases")
    with op.batch_alter_table("holds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_holds_video_key"))

    op.drop_table("holds")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_stage_item"))
        batch_op.drop_index(batch_op.f("ix_attempts_failed_at"))

    op.drop_table("attempts")
