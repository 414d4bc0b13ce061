"""The shards of work on one project that several runs share."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "shard_plans",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("project_name", sa.String(length=100), nullable=False),
        sa.Column("basis", sa.String(length=64), nullable=False),
        sa.Column("num_shards", sa.Integer(), nullable=False),
        sa.Column("first_part", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("num_asked", sa.Integer(), nullable=False),
        sa.Column("num_fruitless", sa.Integer(), nullable=False),
        sa.Column("ask_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_name"], ["projects.name"], name=op.f("fk_shard_plans_project_name_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shard_plans")),
        sa.UniqueConstraint("stage", "project_name", name=op.f("uq_shard_plans_stage_project_name")),
    )
    op.create_table(
        "shards",
        sa.Column("plan_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.String(length=255), nullable=False),
        sa.Column("last", sa.String(length=255), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("num_taken", sa.Integer(), nullable=False),
        sa.Column("resource", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["shard_plans.id"], name=op.f("fk_shards_plan_id_shard_plans"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("plan_id", "number", name=op.f("pk_shards")),
    )
    op.create_index(op.f("ix_shards_plan_id_num_taken_number"), "shards", ["plan_id", "num_taken", "number"])
    op.create_index(op.f("ix_shards_resource"), "shards", ["resource"])


def downgrade() -> None:
    """Revert this revision."""
    op.drop_table("shards")
    op.drop_table("shard_plans")
