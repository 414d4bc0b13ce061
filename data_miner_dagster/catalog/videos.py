"""Videos: queries, due and unwanted videos, recording downloads, retries and deletion.

Results that are sorted by key use Python's string order, unless the function says otherwise (see members.py for the
reason).

Belongs here: rows of videos. Does not belong here: status changes (transitions.py), videos whose worker died
(upkeep.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, delete, func, select, update
from sqlalchemy.orm import Session

from data_miner_dagster import __version__
from data_miner_dagster.catalog.attempts import clear_attempts, forget_items
from data_miner_dagster.catalog.batches import free_videos
from data_miner_dagster.catalog.content import lock_content
from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.holds import delete_holds_of_videos
from data_miner_dagster.catalog.measurements import forget_spent
from data_miner_dagster.catalog.members import is_wanted
from data_miner_dagster.catalog.pending import projects_of, raise_content_versions
from data_miner_dagster.catalog.schema import (
    PrescreeningRow,
    SiteGateRow,
    SiteRefusalRow,
    VideoRow,
    utc_now,
)
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.domain.statuses import (
    VideoStatus,
)
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage


def keys_with_prefix(database: Database, prefix: str) -> list[str]:
    """Return the video keys that start with `prefix`, sorted. `prefix` must not be empty."""
    above = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    key = _in_order_of_python(database)
    with database.reading() as session:
        return list(session.scalars(select(VideoRow.key).where(key >= prefix, key < above).order_by(key)))


def _in_order_of_python(database: Database) -> SQLColumnExpression[str]:
    """Return the SQL expression for a video's key, which compares and sorts keys as Python does.

    The order of a PostgreSQL database depends on its locale, which may ignore case and punctuation. Its collation "C"
    uses Python's order. SQLite uses Python's order by default.
    """
    return VideoRow.key.collate("C") if database.is_postgresql else VideoRow.key


def find_video(database: Database, key: str) -> VideoRow | None:
    """Return the video with this key, or None if it does not exist."""
    with database.reading() as session:
        return session.get(VideoRow, key)


def find_videos(
    database: Database,
    keys: Collection[str] | None = None,
    *,
    project: str | None = None,
    statuses: Collection[VideoStatus] | None = None,
) -> list[VideoRow]:
    """Return the videos that meet all given conditions, sorted by key.

    The conditions are that the key is in `keys`, that `project` wants the video, and that its status is in `statuses`.
    None means no condition.
    """
    query = select(VideoRow).where(*_conditions(project, statuses))
    with database.reading() as session:
        if keys is None:
            rows = list(session.scalars(query))
        else:
            rows = [row for some in portions(keys) for row in session.scalars(query.where(VideoRow.key.in_(some)))]
    return sorted(rows, key=attrgetter("key"))


def find_videos_after(
    database: Database,
    after: str,
    limit: int,
    *,
    project: str | None = None,
    statuses: Collection[VideoStatus] | None = None,
) -> tuple[list[VideoRow], int]:
    """Return up to `limit` videos with keys after `after`, sorted by key, and the number of all videos after `after`.

    Only videos that `project` wants and whose status is in `statuses` count. An argument that is None sets no
    condition.
    """
    key = _in_order_of_python(database)
    conditions = [*_conditions(project, statuses), key > after]
    with database.reading() as session:
        rows = session.scalars(select(VideoRow).where(*conditions).order_by(key).limit(limit)).all()
        number = session.scalar(select(func.count()).select_from(VideoRow).where(*conditions)) or 0
    return list(rows), number


def _conditions(project: str | None, statuses: Collection[VideoStatus] | None) -> list[ColumnElement[bool]]:
    of_project = [] if project is None else [is_wanted(project)]
    return of_project if statuses is None else [*of_project, VideoRow.status.in_(statuses)]


def extracted_keys(database: Database, *, after: str | None, limit: int, only_without_basis: bool = False) -> list[str]:
    """Return up to `limit` keys of EXTRACTED videos, in the database's order.

    If `after` is not None, only keys after it are returned.
    With `only_without_basis`, only videos whose frames have no recorded basis are included.
    """
    query = select(VideoRow.key).where(VideoRow.status == VideoStatus.EXTRACTED).order_by(VideoRow.key).limit(limit)
    if after is not None:
        query = query.where(VideoRow.key > after)
    if only_without_basis:
        query = query.where(VideoRow.frames_basis.is_(None))
    with database.reading() as session:
        return list(session.scalars(query))


def embedded_keys(database: Database, basis: str, project: str | None = None) -> tuple[list[str], int]:
    """Return the sorted keys of videos whose embeddings have this basis, and the number of other EXTRACTED videos.

    Only videos that `project` wants count, or all videos if it is None.
    """
    query = select(VideoRow.key, VideoRow.embedding_basis == basis).where(
        *_conditions(project, {VideoStatus.EXTRACTED})
    )
    with database.reading() as session:
        rows = session.execute(query).all()
    keys = sorted(key for key, is_embedded in rows if is_embedded)
    return keys, len(rows) - len(keys)


def count_by_frames_basis(database: Database, project: str | None = None) -> dict[str | None, int]:
    """Return the number of EXTRACTED videos by the basis of their frames. With `project`, only its videos count.

    The key None stands for frames without a recorded basis.
    """
    query = select(VideoRow.frames_basis, func.count()).where(VideoRow.status == VideoStatus.EXTRACTED)
    if project is not None:
        query = query.where(is_wanted(project))
    with database.reading() as session:
        return {row[0]: row[1] for row in session.execute(query.group_by(VideoRow.frames_basis))}


@dataclass(frozen=True, slots=True)
class WantedVideo:
    """The facts about one video that determine the stage it needs next."""

    key: str
    status: VideoStatus
    retry_after: datetime | None  # from `due_at`, so it is also set if an update of this package makes the video due
    has_file: bool  # whether a downloaded and verified file is recorded


def wanted_videos(database: Database, project: str | None = None) -> list[WantedVideo]:
    """Return the videos that `project` wants, or that any project wants if it is None, sorted by key."""
    query = select(
        VideoRow.key,
        VideoRow.status,
        VideoRow.error_kind,
        VideoRow.internal_error_version,
        VideoRow.retry_after,
        VideoRow.sha256.is_not(None),
    )
    with database.reading() as session:
        rows = session.execute(query.where(is_wanted(project)))
        wanted = [
            WantedVideo(key, status, due_at(kind, version, retry_after), bool(has_file))
            for key, status, kind, version, retry_after, has_file in rows
        ]
    return sorted(wanted, key=attrgetter("key"))


def unwanted_videos(database: Database) -> Sequence[VideoRow]:
    """Return the videos that no project wants, sorted by key."""
    with database.reading() as session:
        query = select(VideoRow).where(~is_wanted()).order_by(_in_order_of_python(database))
        return session.scalars(query).all()


def keys_with_internal_errors(database: Database, video_keys: Collection[str]) -> set[str]:
    """Return the keys in `video_keys` whose videos have ever had an internal error."""
    query = select(VideoRow.key).where(VideoRow.internal_error_version.is_not(None))
    found: set[str] = set()
    with database.reading() as session:
        for some in portions(video_keys):
            found.update(session.scalars(query.where(VideoRow.key.in_(some))))
    return found


def addresses_of(database: Database, video_keys: Collection[str]) -> dict[str, tuple[Origin, str]]:
    """Return an (origin, address) pair for each of these videos, by key. Unknown videos are omitted."""
    query = select(VideoRow.key, VideoRow.origin, VideoRow.url)
    found: dict[str, tuple[Origin, str]] = {}
    with database.reading() as session:
        for some in portions(video_keys):
            rows = session.execute(query.where(VideoRow.key.in_(some)))
            found.update({key: (origin, url) for key, origin, url in rows})
    return found


def due_at(
    error_kind: VideoErrorKind | None, internal_error_version: str | None, retry_after: datetime | None
) -> datetime | None:
    """Return when a failed video may be retried, or None if it waits for a person or for a new version of this package.

    A video whose internal error occurred in another version of this package is due immediately. So is a video with a
    transient failure for which an earlier version stored no retry time.
    """
    is_of_another_version = error_kind is VideoErrorKind.INTERNAL_ERROR and internal_error_version != __version__
    has_no_date = retry_after is None and error_kind is not None and error_kind.is_transient
    if is_of_another_version or has_no_date:
        return datetime.min.replace(tzinfo=UTC)
    return retry_after


def is_due(video: VideoRow, now: datetime | None = None) -> bool:
    """Return whether a FAILED or UNAVAILABLE video may be retried at `now`, or at this host's time if `now` is None."""
    due = due_at(video.error_kind, video.internal_error_version, video.retry_after)
    return due is not None and due <= (now or utc_now())


def record_downloaded(session: Session, video_key: str, file: VideoFileRecord, **values: Any) -> bool:
    """Move a video to DOWNLOADED with the verified facts about its file, which must be in place.

    Failed attempts to extract an earlier file are deleted, because they do not concern this file. `values` are
    additional columns to set.

    Returns:
        Whether this call changed the status.
    """
    clear_attempts(session, WorkStage.EXTRACTION, [video_key])
    known: dict[str, Any] = {
        column: value
        for column, value in (
            ("title", file.title),
            ("channel", file.channel),
            ("licence", file.licence),
            ("upload_date", file.upload_date),
        )
        if value is not None
    }
    return move_video(
        session,
        video_key,
        VideoStatus.DOWNLOADED,
        file_name=file.file_name,
        size_bytes=file.size_bytes,
        stored_bytes=file.size_bytes if file.file_name else None,  # a folder of frames is not a single file
        reserved_bytes=None,
        sha256=file.sha256,
        duration_seconds=file.duration_seconds,
        width=file.width,
        height=file.height,
        error=None,
        error_kind=None,
        retry_after=None,
        **known,
        **values,
    )


def _end_probes(session: Session, video_keys: Collection[str]) -> None:
    for some in portions(video_keys):
        session.execute(update(SiteGateRow).where(SiteGateRow.probe_key.in_(some)).values(probe_key=None))


def restore_extracted(session: Session, video_key: str) -> bool:
    """Move a video back from DOWNLOADING to EXTRACTED, because its frames exist and its file was removed earlier.

    Returns:
        Whether this call changed the status.
    """
    return (
        move_video(session, video_key, VideoStatus.DOWNLOADED, only_from={VideoStatus.DOWNLOADING})
        and move_video(session, video_key, VideoStatus.EXTRACTING)
        and move_video(session, video_key, VideoStatus.EXTRACTED, retry_after=None)
    )


def retry_videos(
    database: Database,
    *,
    project: str | None = None,
    kinds: Collection[VideoErrorKind] | None = None,
    video_keys: Collection[str] | None = None,
) -> list[str]:
    """Reset FAILED and UNAVAILABLE videos so that they are retried. Return their keys.

    A video whose extraction failed goes back to DOWNLOADED, and any other video to PENDING. An argument that is None
    matches all videos.
    """
    with database.transaction() as session:
        return retry_videos_in(session, project=project, kinds=kinds, video_keys=video_keys)


def retry_videos_in(
    session: Session,
    *,
    project: str | None = None,
    kinds: Collection[VideoErrorKind] | None = None,
    video_keys: Collection[str] | None = None,
    stage: WorkStage | None = None,
) -> list[str]:
    """Reset FAILED and UNAVAILABLE videos like `retry_videos`, but in the caller's transaction. Return their keys.

    With `stage`, only videos that failed at this stage are reset. An argument that is None matches all videos.
    """
    query = select(VideoRow).where(VideoRow.status.in_({VideoStatus.FAILED, VideoStatus.UNAVAILABLE}))
    if project is not None:
        query = query.where(is_wanted(project))
    if kinds is not None:
        query = query.where(VideoRow.error_kind.in_(kinds))
    query = query.with_for_update(key_share=True, of=VideoRow)
    named = [query] if video_keys is None else [query.where(VideoRow.key.in_(some)) for some in portions(video_keys)]
    fresh: dict[str, Any] = {"attempts": 0, "retry_after": None, "error": None, "error_kind": None}
    retried = []
    for video in [video for some in named for video in session.scalars(some.order_by(VideoRow.key)).all()]:
        has_file = video.status is VideoStatus.FAILED and video.sha256 is not None
        if stage not in (None, WorkStage.EXTRACTION if has_file else WorkStage.DOWNLOADING):
            continue
        target = VideoStatus.DOWNLOADED if has_file else VideoStatus.PENDING
        if move_video(session, video.key, target, only_from={video.status}, **fresh):
            forget_items(session, [video.key])
            retried.append(video.key)
    return retried


def delete_videos(database: Database, video_keys: Collection[str], *, only_unwanted: bool = True) -> list[str]:
    """Delete videos with their memberships, holds, failures and measurements. Return the deleted keys, sorted.

    With `only_unwanted`, videos that a project wants at the time of the deletion are kept. Files, verdicts, splits and
    answers of verifiers are kept in any case.
    """
    removed: list[str] = []
    with database.transaction() as session:
        lock_content(session)  # a download that is about to finish may be linked to one of them
        _end_probes(session, video_keys)
        lock_videos(session, video_keys)  # so that no project starts to want one of them
        for named in portions(video_keys):
            query = select(VideoRow.key).where(VideoRow.key.in_(named))
            if only_unwanted:
                query = query.where(~is_wanted())
            some = sorted(session.scalars(query))
            raise_content_versions(session, projects_of(session, some))
            free_videos(session, some)
            session.execute(delete(PrescreeningRow).where(PrescreeningRow.video_key.in_(some)))
            session.execute(delete(SiteRefusalRow).where(SiteRefusalRow.video_key.in_(some)))
            session.execute(update(VideoRow).where(VideoRow.duplicate_of.in_(some)).values(duplicate_of=None))
            delete_holds_of_videos(session, some)
            forget_items(session, some)
            forget_spent(session, some, VIDEO_STAGES)
            session.execute(delete(VideoRow).where(VideoRow.key.in_(some)))
            removed += some
    return removed
