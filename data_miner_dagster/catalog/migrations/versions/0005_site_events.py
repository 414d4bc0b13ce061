"""Recent refusals by sites, and files that folder listings left out."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "site_refusals",
        sa.Column("site", sa.String(length=255), nullable=False),
        sa.Column("video_key", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("site", "video_key", name=op.f("pk_site_refusals")),
    )
    with op.batch_alter_table("site_gates", schema=None) as batch_op:
        batch_op.add_column(sa.Column("event_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("probe_key", sa.String(length=200), nullable=True))
    with op.batch_alter_table("source_listings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("passed_over", sa.Text(), nullable=True))


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("source_listings", schema=None) as batch_op:
        batch_op.drop_column("passed_over")

    with op.batch_alter_table("site_gates", schema=None) as batch_op:
        batch_op.drop_column("probe_key")
        batch_op.drop_column("event_since")

    op.drop_table("site_refusals")
