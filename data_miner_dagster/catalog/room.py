"""The space that videos and frames use under the root, reservations for downloads, and files that may be removed.

Belongs here: rows and their sums. Does not belong here: files, and choosing what to remove (operations/room.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from sqlalchemy import ColumnElement, Table, and_, bindparam, case, func, or_, select, text, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.members import is_wanted
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus

_VIDEO: Final = cast("Table", VideoRow.__table__).c
_LOCK: Final = 7_240_611
"""The key of the advisory lock for reserving space on PostgreSQL. SQLite allows only one writer in any case."""
_IS_ANOTHER_DOWNLOAD: Final = and_(
    _VIDEO.status == VideoStatus.DOWNLOADING,
    _VIDEO.key != bindparam("own_key"),  # a dead worker may have left a reservation for the same video
)
_HAS_FRAMES_TO_COME: Final = _VIDEO.status.in_((VideoStatus.DOWNLOADED, VideoStatus.EXTRACTING))
_IS_EXTRACTED: Final = and_(
    _VIDEO.status == VideoStatus.EXTRACTED, _VIDEO.frames_bytes.is_not(None), _VIDEO.size_bytes > 0
)


@dataclass(frozen=True, slots=True)
class VideosRoom:
    """Sums and means over all videos, in bytes unless noted otherwise."""

    sources: int  # files of videos
    frames: int  # folders of frames
    promised: int  # reserved by running downloads
    to_extract: int  # files of videos that have no frames yet
    num_to_extract: int
    typical_source: int  # the mean size of the videos downloaded so far
    # bytes of frames per byte of source, over the videos extracted so far; None if no video was extracted
    frames_per_byte: float | None
    last_progress: datetime | None  # when a video with a stored file last changed, or None if no file is stored


_SUMS: Final = select(
    func.coalesce(func.sum(_VIDEO.stored_bytes), 0),
    func.coalesce(func.sum(_VIDEO.frames_bytes), 0),
    func.coalesce(func.sum(case((_IS_ANOTHER_DOWNLOAD, _VIDEO.reserved_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((_HAS_FRAMES_TO_COME, _VIDEO.stored_bytes), else_=0)), 0),
    func.coalesce(func.sum(case((and_(_HAS_FRAMES_TO_COME, _VIDEO.stored_bytes > 0), 1), else_=0)), 0),
    func.coalesce(func.avg(_VIDEO.size_bytes), 0),
    func.sum(case((_IS_EXTRACTED, _VIDEO.frames_bytes))),
    func.sum(case((_IS_EXTRACTED, _VIDEO.size_bytes))),
    func.max(case((_VIDEO.stored_bytes > 0, _VIDEO.updated_at))),
)


def videos_room(session: Session, *, but_promised_to: str = "") -> VideosRoom:
    """Return the space that videos and frames use, and the space that running downloads have reserved.

    A reservation for the video with the key `but_promised_to` does not count.
    """
    row = session.execute(_SUMS, {"own_key": but_promised_to}).one()
    sources, frames, promised, to_extract, num_to_extract, typical, frames_of, made_from, last = row
    return VideosRoom(
        sources=int(sources),
        frames=int(frames),
        promised=int(promised),
        to_extract=int(to_extract),
        num_to_extract=int(num_to_extract),
        typical_source=int(typical),
        frames_per_byte=int(frames_of) / int(made_from) if made_from else None,
        last_progress=last,
    )


def lock_room(database: Database, session: Session) -> None:
    """Prevent other processes from reserving space until this transaction ends."""
    if database.is_postgresql:
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def promise_room(session: Session, video_key: str, size_bytes: int) -> None:
    """Reserve the space that the download of a video may use. The reservation counts while the video is DOWNLOADING."""
    session.execute(update(VideoRow).where(VideoRow.key == video_key).values(reserved_bytes=size_bytes))


def wait_for_room(session: Session, video_key: str, until: datetime, message: str, *, attempts: int) -> None:
    """Postpone a video for which there is not enough space. It becomes PENDING, so its projects wait for it.

    An EXTRACTED or EXTRACTING video does not change, because a person has forced the new download.
    """
    has_no_frames = set(VideoStatus) - {VideoStatus.EXTRACTED, VideoStatus.EXTRACTING}
    move_video(session, video_key, VideoStatus.DOWNLOADING, only_from=has_no_frames)  # a status cannot follow itself
    move_video(
        session,
        video_key,
        VideoStatus.PENDING,
        only_from={VideoStatus.DOWNLOADING},
        error_kind=VideoErrorKind.DISK_FULL,
        error=message,
        retry_after=until,
        attempts=attempts,
    )


def waiting_for_room(database: Database, project: str) -> set[str]:
    """Return the keys of a project's wanted videos whose downloads are waiting for disk space."""
    waits = _VIDEO.status == VideoStatus.PENDING, _VIDEO.error_kind == VideoErrorKind.DISK_FULL
    with database.reading() as session:
        return set(session.scalars(select(_VIDEO.key).where(*waits, is_wanted(project))))


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video, and the size of either its file or its frames."""

    key: str
    size_bytes: int
    sha256: str | None


def _may_lose_source() -> ColumnElement[bool]:
    """Return the SQL condition that a video's file may be removed: the video has frames, has failed or is unwanted.

    If the file is needed later, it is downloaded again.
    """
    is_unwanted = and_(_VIDEO.status == VideoStatus.DOWNLOADED, ~is_wanted())
    return or_(_VIDEO.status.in_((VideoStatus.EXTRACTED, VideoStatus.FAILED)), is_unwanted)


def removable_sources(session: Session) -> Sequence[StoredVideo]:
    """Return the videos whose files may be removed, in the order of removal, with the sizes of the files.

    Videos with frames come before the others. Within each group, the least recently changed come first.
    """
    rows = session.execute(
        select(_VIDEO.key, _VIDEO.stored_bytes, _VIDEO.sha256)
        .where(_VIDEO.stored_bytes > 0, _may_lose_source())
        .order_by(case((_VIDEO.status == VideoStatus.EXTRACTED, 0), else_=1), _VIDEO.updated_at, _VIDEO.key)
    )
    return [StoredVideo(*row) for row in rows]


def count_removable_sources(session: Session) -> tuple[int, int]:
    """Return the number of videos whose files may be removed, and the total size of these files in bytes."""
    number, size_bytes = session.execute(
        select(func.count(), func.coalesce(func.sum(_VIDEO.stored_bytes), 0)).where(
            _VIDEO.stored_bytes > 0, _may_lose_source()
        )
    ).one()
    return int(number), int(size_bytes)


def unwanted_frames(session: Session) -> Sequence[StoredVideo]:
    """Return the unwanted videos that have frames, least recently changed first, with the sizes of their frames."""
    rows = session.execute(
        select(_VIDEO.key, _VIDEO.frames_bytes, _VIDEO.sha256)
        .where(_VIDEO.status == VideoStatus.EXTRACTED, _VIDEO.frames_bytes > 0, ~is_wanted())
        .order_by(_VIDEO.updated_at, _VIDEO.key)
    )
    return [StoredVideo(*row) for row in rows]


def record_source_removed(session: Session, video_key: str, left_bytes: int | None = None) -> None:
    """Record that a video's file was removed, or that `left_bytes` of it remain. The other columns do not change."""
    session.execute(
        update(VideoRow)
        .where(VideoRow.key == video_key)
        .values(stored_bytes=left_bytes, updated_at=VideoRow.updated_at)  # not an update: nothing was produced
    )


def record_frames_removed(session: Session, video_key: str) -> bool:
    """Move an EXTRACTED video back to DOWNLOADED before its frames are removed.

    Returns:
        False if a project now wants the video, or its status has changed.
    """
    lock_videos(session, [video_key])  # so that no project begins to want it
    if session.scalar(select(_VIDEO.key).where(_VIDEO.key == video_key, is_wanted())) is not None:
        return False
    only_from = {VideoStatus.EXTRACTED}
    return move_video(
        session, video_key, VideoStatus.DOWNLOADED, only_from=only_from, num_frames=None, frames_bytes=None
    )


def record_frames_bytes(session: Session, size_by_key: dict[str, int]) -> None:
    """Record the disk space that the frames of videos take, in bytes by video key."""
    for key, size_bytes in size_by_key.items():
        session.execute(
            update(VideoRow).where(VideoRow.key == key).values(frames_bytes=size_bytes, updated_at=VideoRow.updated_at)
        )


def unmeasured_frames(session: Session) -> Sequence[str]:
    """Return the keys of the EXTRACTED videos whose frames have no recorded size."""
    is_unmeasured = and_(_VIDEO.status == VideoStatus.EXTRACTED, _VIDEO.frames_bytes.is_(None))
    return session.scalars(select(_VIDEO.key).where(is_unmeasured).order_by(_VIDEO.key)).all()


def removed_sources(
    session: Session, video_keys: Collection[str] | None = None, project: str | None = None
) -> Sequence[StoredVideo]:
    """Return the downloaded videos whose files were removed, sorted by key, with the sizes of the files.

    Only videos in `video_keys` that `project` wants are returned. An argument that is None sets no condition.
    """
    query = select(_VIDEO.key, _VIDEO.size_bytes, _VIDEO.sha256).where(
        _VIDEO.sha256.is_not(None), _VIDEO.file_name != "", _VIDEO.stored_bytes.is_(None)
    )
    if project is not None:
        query = query.where(is_wanted(project))
    if video_keys is None:
        return [StoredVideo(*row) for row in session.execute(query.order_by(_VIDEO.key))]
    found = [row for some in portions(video_keys) for row in session.execute(query.where(_VIDEO.key.in_(some)))]
    return sorted((StoredVideo(*row) for row in found), key=lambda video: video.key)
