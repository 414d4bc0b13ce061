"""The origin of each video's address."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_VIDEOS = sa.table("videos", sa.column("key"), sa.column("url"), sa.column("origin"))
_MEMBERS = sa.table("project_videos", sa.column("video_key"), sa.column("source"), sa.column("query"))


def upgrade() -> None:
    """Apply this revision.

    A path is local if its video key is based on content, since only local-file sources use such keys. An address is the
    user's own if it equals the user's query exactly. Everything else came from a listing.
    """
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("origin", sa.String(length=16), nullable=True))
    is_local = _VIDEOS.c.url.startswith("/") & (_VIDEOS.c.key.startswith("file-") | _VIDEOS.c.key.startswith("frames-"))
    is_own = sa.exists().where(
        _MEMBERS.c.video_key == _VIDEOS.c.key,
        _MEMBERS.c.source.in_(["urls", "url_files", "by_hand"]),
        _MEMBERS.c.query == _VIDEOS.c.url,
    )
    op.execute(_VIDEOS.update().values(origin="foreign"))
    op.execute(_VIDEOS.update().where(is_own).values(origin="own"))
    op.execute(_VIDEOS.update().where(is_local).values(origin="local"))
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.alter_column("origin", existing_type=sa.String(length=16), nullable=False)


def downgrade() -> None:
    """Revert this revision."""
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.drop_column("origin")
