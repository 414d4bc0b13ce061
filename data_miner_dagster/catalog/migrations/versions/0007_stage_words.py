"""A project's stage is called as in every other room, and releasing is a stage of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_RENAMED = {
    "POPULATING": "SOURCING",
    "DEDUP_READY": "DEDUPLICATION_READY",
    "DEDUPING": "DEDUPLICATION",
    "DETECT_READY": "DETECTION_READY",
    "DETECTING": "DETECTION",
}
_EARLIER = {new: old for old, new in _RENAMED.items()} | {"RELEASING_READY": "DETECTING", "RELEASING": "DETECTING"}
"""There was no word for what follows detection: a project was at it until its release was out."""


def _rename(words: dict[str, str]) -> None:
    projects = sa.table("projects", sa.column("stage", sa.String))
    stage = projects.c.stage
    op.execute(sa.update(projects).where(stage.in_(words)).values(stage=sa.case(words, value=stage)))


def upgrade() -> None:
    """Apply."""
    _rename(_RENAMED)


def downgrade() -> None:
    """Take back."""
    _rename(_EARLIER)
