"""Answers from verifiers."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "box_answers",
        sa.Column("question_key", sa.String(length=32), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("verifier", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("question_key", name=op.f("pk_box_answers")),
    )
    op.create_index(op.f("ix_box_answers_project_name"), "box_answers", ["project_name"])
    op.create_index(op.f("ix_box_answers_video_key"), "box_answers", ["video_key"])


def downgrade() -> None:
    """Revert this revision."""
    op.drop_table("box_answers")
