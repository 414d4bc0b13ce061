"""The resources that each stage has used for each video and project, and the cost of a release."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "measurements",
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("num_items", sa.Integer(), nullable=False),
        sa.Column("num_failed", sa.Integer(), nullable=False),
        sa.Column("num_requests", sa.BigInteger(), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), nullable=False),
        sa.Column("bytes_written", sa.BigInteger(), nullable=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("wall_seconds", sa.Double(), nullable=False),
        sa.Column("floor_seconds", sa.Double(), nullable=False),
        sa.Column("num_frames", sa.BigInteger(), nullable=False),
        sa.Column("num_boxes", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", "stage", "run_id", name=op.f("pk_measurements")),
    )
    op.create_index(op.f("ix_measurements_stage_measured_at"), "measurements", ["stage", "measured_at"])
    with op.batch_alter_table("releases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cost", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("releases", schema=None) as batch_op:
        batch_op.drop_column("cost")
    op.drop_table("measurements")
