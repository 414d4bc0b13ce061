"""Consistent names for project stages, and a separate releasing stage."""

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
"""Earlier versions had no stage after detection: a project stayed in detection until its release was published."""


def _rename(words: dict[str, str]) -> None:
    projects = sa.table("projects", sa.column("stage", sa.String))
    stage = projects.c.stage
    op.execute(sa.update(projects).where(stage.in_(words)).values(stage=sa.case(words, value=stage)))


def upgrade() -> None:
    """Apply this revision."""
    _rename(_RENAMED)


def downgrade() -> None:
    """Revert this revision."""
    _rename(_EARLIER)
