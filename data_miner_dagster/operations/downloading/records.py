"""Record the results of downloads in the catalog. A finished download is recorded once its file is in place."""

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress

from data_miner_dagster.catalog.content import first_of_same_bytes, lock_content, of_like_duration
from data_miner_dagster.catalog.database import Session
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.members import is_usable_member
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_project_video, move_video
from data_miner_dagster.catalog.videos import record_downloaded, restore_extracted
from data_miner_dagster.domain.errors import DataMinerError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.records import VIDEO_FACTS, OutcomeStatus, Rejection, VideoCandidate, VideoOutcome
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.statuses import STATUSES_WITHOUT_FILE, ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.downloading.partial_folders import partial_folders
from data_miner_dagster.operations.item_faults import ItemFault, record_item_fault
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.downloading.failures import SAME_DURATION_SECONDS, decide_failure, is_same_content
from data_miner_dagster.stages.sourcing import reupload_rejection
from data_miner_dagster.storage.frames import has_frames
from data_miner_dagster.storage.videos import VideoInfo, read_video_info


class NotWantedError(DataMinerError):
    """Raised if every project that wanted a video rejects it because of facts on its page."""

    def __init__(self, candidate: VideoCandidate, rejections: Mapping[str, Rejection]) -> None:
        super().__init__(_rejection_text(rejections))
        self.candidate = candidate
        self.rejections = rejections


def _rejection_text(rejections: Mapping[str, Rejection]) -> str:
    return "; ".join(f"{project}: {rejection}" for project, rejection in sorted(rejections.items()))


def record_done(
    session: Session, info: VideoInfo, rejections: Mapping[str, Rejection], skipping: Collection[str] = ()
) -> None:
    """Mark a video DOWNLOADED, link it to the first identical video, if any, and record the projects' `rejections`.

    Projects in `skipping` also reject the video if they already have an identical one.
    """
    lock_content(session)
    channel = {} if info.channel_id is None else {"channel_id": info.channel_id}
    original = _duplicate_of(session, info)
    record_downloaded(
        session,
        info.video_key,
        info.file,
        content_fingerprint=info.content_fingerprint,
        duplicate_of=original,
        **channel,
    )
    if original is not None:
        known = [project for project in skipping if is_usable_member(session, project, original)]
        rejections = {**dict.fromkeys(known, reupload_rejection(original)), **rejections}
    _reject(session, info.video_key, rejections)


def _duplicate_of(session: Session, info: VideoInfo) -> str | None:
    """Return the key of the first other video with the same content, or None if there is no such video.

    The bytes are compared first. If no bytes match, the pictures and durations are compared, unless this video has no
    content fingerprint.
    """
    fingerprint, seconds = info.content_fingerprint, info.file.duration_seconds
    alike = first_of_same_bytes(session, info.video_key, info.file.sha256)
    if alike is None and fingerprint is not None:
        near = of_like_duration(
            session,
            info.video_key,
            shortest_seconds=seconds - SAME_DURATION_SECONDS,
            longest_seconds=seconds + SAME_DURATION_SECONDS,
        )
        alike = next((video for video, other in near if is_same_content(other, fingerprint)), None)
    # Links always point to the first video of a set, which has no link of its own.
    return None if alike is None else alike.duplicate_of or alike.key


def _reject(session: Session, video_key: str, rejections: Mapping[str, Rejection]) -> None:
    for project, rejection in sorted(rejections.items()):
        move_project_video(
            session,
            project,
            video_key,
            ProjectVideoStatus.REJECTED,
            reason=str(rejection),
        )


def record_not_wanted(platform: Platform, row: VideoRow, error: NotWantedError) -> VideoOutcome:
    """Set a video back to PENDING, since another project may want it. Return its outcome.

    The facts from the video's page and its projects' rejections are stored, and partial downloads are removed.
    """
    candidate = error.candidate
    known = {name: value for name in VIDEO_FACTS if (value := getattr(candidate, name)) is not None}
    with platform.database.transaction() as session:
        move_video(session, row.key, VideoStatus.PENDING, attempts=row.attempts, **known)
        _reject(session, row.key, error.rejections)
        store_spent(session, row.key)
    folder = platform.layout.video_folder(row.key)
    for partial in partial_folders(folder):
        shutil.rmtree(partial, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return VideoOutcome(row.key, OutcomeStatus.BLOCKED, message=f"no project wants this video: {error}")


def record_failure(
    platform: Platform, key: str, attempts: int, error: VideoPermanentError | VideoTransientError
) -> VideoOutcome:
    """Mark a video FAILED or UNAVAILABLE, and store the kind of failure, its message and the time of the next attempt.

    If the file or the frames of an earlier download exist, the video becomes DOWNLOADED or EXTRACTED instead (see
    `stays_downloaded`). Return the outcome FAILED or UNAVAILABLE.
    """
    wait = error.retry_after_seconds if isinstance(error, VideoTransientError) else None
    decision = decide_failure(error.kind, attempts, wait, utc_now(), platform.config.downloading)
    with platform.database.transaction() as session:
        if not stays_downloaded(platform, session, key):
            move_video(
                session,
                key,
                decision.status,
                error=str(error),
                error_kind=error.kind,
                retry_after=decision.retry_after,
            )
        store_spent(session, key, is_failed=True)
    status = OutcomeStatus.UNAVAILABLE if decision.status is VideoStatus.UNAVAILABLE else OutcomeStatus.FAILED
    return VideoOutcome(key, status, error.kind, str(error))


def put_back(platform: Platform, row: VideoRow) -> None:
    """Set a video back to PENDING after an unexpected exception, without counting the attempt.

    An earlier download of the video is kept. `ItemGuard` handles the exception.
    """
    with suppress(DATABASE_ERROR), platform.database.transaction() as session:
        if not stays_downloaded(platform, session, row.key):
            move_video(
                session, row.key, VideoStatus.PENDING, only_from={VideoStatus.DOWNLOADING}, attempts=row.attempts
            )
        store_spent(session, row.key, is_failed=True)


def record_fault(platform: Platform, key: str, fault: ItemFault) -> VideoOutcome:
    """Mark a video FAILED because of an internal error, unless an earlier download of it exists. Return its outcome."""
    return record_item_fault(
        platform.database, key, fault, stage=WorkStage.DOWNLOADING, only_from=STATUSES_WITHOUT_FILE
    )


def stays_downloaded(platform: Platform, session: Session, key: str) -> bool:
    """Restore the status of an earlier download after a forced download has failed. Return whether the status changed.

    The video becomes DOWNLOADED if its file exists, or EXTRACTED if only its frames do.
    """
    info = read_video_info(platform.layout, key)
    if info is not None:
        return record_downloaded(session, key, info.file)
    return has_frames(platform.layout, key) and restore_extracted(session, key)


def mend_row(platform: Platform, row: VideoRow, info: VideoInfo) -> None:
    """Update a video's row to match its file.

    Row and file differ if the process was killed between writing them, or if the video was reset to PENDING.
    """
    lags = row.status in (VideoStatus.PENDING, VideoStatus.DOWNLOADING) or (
        row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE) and row.sha256 != info.file.sha256
    )
    if not lags:
        return
    with platform.database.transaction() as session:
        lock_content(session)
        move_video(session, row.key, VideoStatus.DOWNLOADING)
        record_done(session, info, {})


def metadata_of(info: VideoInfo) -> dict[str, int | float | str]:
    """Return the metadata to show to users for a downloaded video."""
    metadata: dict[str, int | float | str] = {
        "size_bytes": info.file.size_bytes,
        "duration_seconds": info.file.duration_seconds,
        "width": info.file.width,
        "height": info.file.height,
    }
    if info.file.title:
        metadata["title"] = info.file.title
    if info.url:
        metadata["url"] = with_references(redact_url(info.url))
    return metadata
