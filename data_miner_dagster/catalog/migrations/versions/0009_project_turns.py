"""The turns of projects at each stage."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "project_turns",
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_name"], ["projects.name"], name=op.f("fk_project_turns_project_name_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stage", "project_name", name=op.f("pk_project_turns")),
    )


def downgrade() -> None:
    """Revert this revision."""
    op.drop_table("project_turns")
