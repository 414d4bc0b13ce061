"""People's verdicts on boxes, frames and duplicates."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("answer_id", sa.String(length=64), nullable=False),
        sa.Column("word", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("pts_seconds", sa.Double(), nullable=False),
        sa.Column("frame_id", sa.Text(), nullable=False),
        sa.Column("other_video_key", sa.String(length=200), nullable=True),
        sa.Column("other_pts_seconds", sa.Double(), nullable=True),
        sa.Column("other_frame_id", sa.Text(), nullable=True),
        sa.Column("class_name", sa.Text(), nullable=True),
        sa.Column("box", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("detector", sa.Text(), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("new_class_name", sa.Text(), nullable=True),
        sa.Column("new_box", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaces", sa.String(length=64), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("project_name", "answer_id", name=op.f("uq_verdicts_project_name_answer_id")),
    )
    op.create_index(op.f("ix_verdicts_project_name_video_key"), "verdicts", ["project_name", "video_key"])
    op.create_index(op.f("ix_verdicts_video_key"), "verdicts", ["video_key"])
    op.create_index(op.f("ix_verdicts_other_video_key"), "verdicts", ["other_video_key"])


def downgrade() -> None:
    """Revert this revision."""
    op.drop_table("verdicts")
