"""Extract the frames of videos: claim a video, run `make_frame_folder`, publish the folder, and record the status."""

import logging
import os
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from data_miner_dagster.catalog.attempts import charge_failure, record_attempt
from data_miner_dagster.catalog.claims import Claim
from data_miner_dagster.catalog.content import originals_first
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.pending import frames_basis_of, record_bases
from data_miner_dagster.catalog.room import removed_sources
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, find_videos, is_due, keys_with_internal_errors
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.at_work import InheritingThreads, working_on
from data_miner_dagster.domain.errors import (
    ClaimHeldError,
    ClaimLostError,
    RunEndedError,
    VideoPermanentError,
    VideoTransientError,
)
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.full_disks import disk_full_is_the_videos
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.versions import EXTRACTION_VERSION
from data_miner_dagster.domain.work import Failure, WorkStage
from data_miner_dagster.operations.bases import extraction_basis
from data_miner_dagster.operations.downloading.imported_frames import imported_frame_paths
from data_miner_dagster.operations.extraction.refetching import RefetchPrice, fetch_missing_sources
from data_miner_dagster.operations.extraction.same_bytes import same_video_with_frames, take_frames_of
from data_miner_dagster.operations.extraction.workers import FrameWorkers
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra, item_guard, record_item_fault
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.operations.room import Room
from data_miner_dagster.operations.tracing import noted
from data_miner_dagster.stages.downloading.failures import decide_failure
from data_miner_dagster.storage.atomic import atomic_folder, sweep_partials
from data_miner_dagster.storage.frames import frames_identity, frames_table_of
from data_miner_dagster.storage.room import files_size

logger = logging.getLogger(__name__)

_MOST_DECODER_THREADS = 4
_COUNTS_PIXELS_SINCE = 6
_HAS_NO_FILE = frozenset({VideoStatus.PENDING, VideoStatus.DOWNLOADING})
_HAS_FILE = frozenset({VideoStatus.DOWNLOADED, VideoStatus.EXTRACTING, VideoStatus.EXTRACTED, VideoStatus.FAILED})


def frames_fingerprint(
    video_key: str, video_sha256: str, config: ExtractionConfig, *, version: int = EXTRACTION_VERSION
) -> str:
    """Return the fingerprint of the `frames.parquet` that `version` of extraction writes for a video."""
    content = {"video": video_sha256, "settings": config.sampling_settings(), "version": version}
    if video_key.startswith(FRAMES_PREFIX) and version >= _COUNTS_PIXELS_SINCE:
        content["max_pixels"] = config.limits.max_pixels  # decides which pictures of a folder are left out
    return fingerprint_of(content)


def refetch_price(
    platform: Platform,
    *,
    video_keys: Collection[str] | None = None,
    project: str | None = None,
    with_current: bool = False,
) -> RefetchPrice:
    """Return the cost of downloading the removed files that are needed to extract frames.

    Args:
        platform: the platform of one root.
        video_keys: the keys of the videos to consider, or None for all videos.
        project: the project whose videos are considered, or None for all projects.
        with_current: whether existing current frames are recreated too.
    """
    with platform.database.reading() as session:
        removed = {video.key: video for video in removed_sources(session, video_keys, project)}
    rows = find_videos(platform.database, list(removed)) if removed else []
    wanted = [
        removed[row.key]
        for row in rows
        if _standing_outcome(row, with_current) is None and (with_current or not _has_current_frames(platform, row))
    ]
    return RefetchPrice(len(wanted), sum(video.size_bytes for video in wanted))


def extract_frames(
    platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
) -> list[VideoOutcome]:
    """Extract the frames of videos. Return one outcome per key, in the given order.

    Each video is claimed while it is processed. Current frames are not recreated unless `force` is set. Missing video
    files are downloaded again if their frames must be extracted. `report` is called in the calling thread as each video
    finishes.

    Raises:
        OutageError: a network, disk or memory error affects all videos.
        SourcesMissingError: a video file is missing, and the platform is offline.
        SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
    """
    keys = list(dict.fromkeys(video_keys))
    _ = platform.database  # create it once, before threads use it
    num_cores = os.cpu_count() or 1
    num_workers = min(platform.config.extraction.workers or num_cores, max(1, len(keys)))
    num_threads = min(_MOST_DECODER_THREADS, max(1, num_cores // num_workers))
    room = Room(platform)
    fetched = fetch_missing_sources(platform, _lacking_a_source(platform, keys, force))
    outcomes: dict[str, VideoOutcome] = {}

    def settle(outcome: VideoOutcome) -> None:
        outcomes[outcome.video_key] = outcome
        if outcome.status is OutcomeStatus.DONE:
            with working_on(video=outcome.video_key):
                attempt_extra("room", outcome.video_key, room.settle)
        if report is not None:
            report(outcome)

    def record(fault: ItemFault, key: str) -> None:
        settle(_record_fault(platform, key, fault))

    with (
        item_guard("extract_frames", keys_with_internal_errors(platform.database, keys)) as guard,
        InheritingThreads(num_workers, thread_name_prefix="extraction") as pool,
        FrameWorkers() as workers,
    ):
        maker = _FolderMaker(platform, workers, num_threads, room, fetched)
        try:
            for some in originals_first(platform.database, keys):
                pending = {pool.submit(_extract_one, platform, maker, key, force): key for key in some}
                for future in as_completed(pending):
                    key = pending[future]
                    outcome = guard.attempt(key, future.result, partial(record, key=key))
                    if outcome is not None:
                        settle(outcome)
        except BaseException:
            # Videos in progress are left EXTRACTING without a claim: the next run takes them over.
            maker.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[key] for key in video_keys]


@dataclass(frozen=True, slots=True)
class _FolderMaker:
    platform: Platform
    workers: FrameWorkers
    num_threads: int
    room: Room
    fetched: Mapping[str, VideoOutcome]
    """The outcomes of downloading missing files again, by video key."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the batch shuts down. Threads that wait for a claim then stop waiting."""

    def make(self, key: str, file_name: str, fingerprint: str) -> FrameFolderSummary:
        """Replace a video's frames folder atomically. Return the worker's summary."""
        layout = self.platform.layout
        pictures = imported_frame_paths(self.platform, key)
        with atomic_folder(layout.frames_folder(key)) as partial:
            return self.workers.make_frame_folder(
                FrameFolderJob(
                    video_key=key,
                    video_path=layout.video_folder(key) / file_name,
                    folder=partial,
                    fingerprint=fingerprint,
                    config=self.platform.config.extraction,
                    num_threads=self.num_threads,
                    picture_paths=tuple(pictures or ()),
                )
            )


def _extract_one(platform: Platform, maker: _FolderMaker, key: str, force: bool) -> VideoOutcome:
    try:
        meter = Meter(WorkStage.EXTRACTION, key, platform.run_id)
        with (
            working_on(video=key),
            platform.hold_video(key, stopping=maker.stopping) as claim,
            meter.working(),
        ):
            return noted(_extract_held(platform, maker, claim, key, force))
    except ClaimHeldError as error:
        return VideoOutcome(key, OutcomeStatus.BLOCKED, message=str(error))


def _extract_held(platform: Platform, maker: _FolderMaker, claim: Claim, key: str, force: bool) -> VideoOutcome:
    row = find_video(platform.database, key)
    if row is None:
        return VideoOutcome(
            key,
            OutcomeStatus.BLOCKED,
            message=f"video {key!r} is not in the catalog; list its source with `data-miner populate --config FILE "
            "--force`",
        )
    if (standing := _standing_outcome(row, force)) is not None:
        return standing
    assert row.sha256 is not None
    wanted = frames_fingerprint(key, row.sha256, platform.config.extraction)
    sweep_partials(platform.layout.frames, key)
    stored = None if force else frames_identity(platform.layout, key)
    if stored is not None and stored.fingerprint == wanted:
        return _record_reused(platform, row, stored.num_frames)
    if not force and (same := same_video_with_frames(platform, row, wanted)) is not None:
        with platform.working_under(claim):
            num_frames = take_frames_of(platform, same, key, wanted)
        if num_frames is not None:
            _record_extracted(platform, key, num_frames, files_size(frames_table_of(platform.layout, key)))
            _drop_source(platform, maker, key)
            message = f"the frames were taken from {same}, which has the same bytes"
            return VideoOutcome(key, OutcomeStatus.REUSED, message=message, metadata={"num_frames": num_frames})
    if _lacks_source(platform, row):
        why = maker.fetched[key].message if key in maker.fetched else "it was removed to free space"
        return _record_lack(platform, row, f"the video's file is missing: {why}")
    return _extract_now(platform, maker, claim, row, wanted)


def _extract_now(
    platform: Platform, maker: _FolderMaker, claim: Claim, row: VideoRow, fingerprint: str
) -> VideoOutcome:
    key = row.key
    with platform.database.transaction() as session:
        move_video(session, key, VideoStatus.EXTRACTING)
    try:
        with disk_full_is_the_videos(platform.root), platform.working_under(claim):
            summary = maker.make(key, row.file_name or "", fingerprint)
    except (ClaimLostError, RunEndedError):
        raise
    except (VideoPermanentError, VideoTransientError) as error:
        return _record_failed(platform, row, error.kind, str(error))
    except Exception:
        _put_back(platform, key)
        raise
    for picture in summary.left_out:
        logger.warning("%s: a picture is left out: %s", row.url or key, picture)
    table_bytes = files_size(frames_table_of(platform.layout, key))
    _record_extracted(platform, key, summary.num_frames, summary.size_bytes + table_bytes)
    _drop_source(platform, maker, key)
    return VideoOutcome(key, OutcomeStatus.DONE, metadata=summary.as_metadata())


def _drop_source(platform: Platform, maker: _FolderMaker, key: str) -> None:
    """Remove the file of a video that now has frames, if the settings keep files only until frames are extracted."""
    if platform.config.room.source_videos == "until_extracted" and (row := find_video(platform.database, key)):
        maker.room.remove_source_held(row)


def _record_reused(platform: Platform, row: VideoRow, num_frames: int) -> VideoOutcome:
    """Update a video's row to match its frames, in case a worker was killed between writing the frames and the row.

    Return the outcome REUSED.
    """
    if row.status is not VideoStatus.EXTRACTED or row.num_frames != num_frames:
        frames_bytes = files_size(platform.layout.frames_folder(row.key))
        _record_extracted(platform, row.key, num_frames, frames_bytes)
    else:
        with platform.database.transaction() as session:
            record_bases(session, WorkStage.EXTRACTION, {row.key: _basis_of(platform, row.key)})
    return VideoOutcome(row.key, OutcomeStatus.REUSED, metadata={"num_frames": num_frames})


def _record_lack(platform: Platform, row: VideoRow, message: str) -> VideoOutcome:
    """Schedule another attempt for a video whose file is missing, if it has stale frames. The frames are kept.

    Return the outcome BLOCKED.
    """
    if row.status is VideoStatus.EXTRACTED:
        with platform.database.transaction() as session:
            failure = Failure(VideoErrorKind.MISSING_FILE, message, basis=_basis_of(platform, row.key))
            charge_failure(session, WorkStage.EXTRACTION, row.key, failure)
    return VideoOutcome(row.key, OutcomeStatus.BLOCKED, message=message)


def _lacks_source(platform: Platform, row: VideoRow) -> bool:
    """Return whether a video had a file that is missing now. The result is False for a folder of pictures."""
    return bool(row.file_name) and not (platform.layout.video_folder(row.key) / (row.file_name or "")).is_file()


def _lacking_a_source(platform: Platform, keys: Sequence[str], force: bool) -> list[VideoRow]:
    """Return the videos that need new frames but lack the file to extract them from."""
    return [
        row
        for row in find_videos(platform.database, keys)
        if _lacks_source(platform, row)
        and _standing_outcome(row, force) is None
        and (force or not _has_current_frames(platform, row))
    ]


def _has_current_frames(platform: Platform, row: VideoRow) -> bool:
    """Return whether a video, or another with the same bytes, has the frames that its file would produce."""
    stored = frames_identity(platform.layout, row.key)
    assert row.sha256 is not None
    wanted = frames_fingerprint(row.key, row.sha256, platform.config.extraction)
    is_current = stored is not None and stored.fingerprint == wanted
    return is_current or same_video_with_frames(platform, row, wanted) is not None


def _standing_outcome(row: VideoRow, force: bool) -> VideoOutcome | None:
    """Return the outcome of a video that cannot or need not be processed now, or None if it must be examined."""
    if row.status is VideoStatus.UNAVAILABLE:
        return VideoOutcome(row.key, OutcomeStatus.UNAVAILABLE, row.error_kind, row.error or "")
    if row.status in _HAS_NO_FILE or row.sha256 is None or row.file_name is None:
        if row.status is VideoStatus.FAILED:
            return VideoOutcome(row.key, OutcomeStatus.FAILED, row.error_kind, row.error or "")
        return VideoOutcome(row.key, OutcomeStatus.BLOCKED, message="the video has not been downloaded yet")
    if row.status is VideoStatus.FAILED and not force and not is_due(row):
        return VideoOutcome(row.key, OutcomeStatus.FAILED, row.error_kind, row.error or "")
    return None


def _basis_of(platform: Platform, key: str) -> str:
    return frames_basis_of(key, extraction_basis(platform.config.extraction))


def _record_extracted(platform: Platform, key: str, num_frames: int, frames_bytes: int) -> None:
    values: dict[str, Any] = {"num_frames": num_frames, "frames_bytes": frames_bytes}
    values["frames_basis"] = _basis_of(platform, key)
    values |= {"error": None, "error_kind": None, "retry_after": None}
    with platform.database.transaction() as session:
        move_video(session, key, VideoStatus.EXTRACTING)
        move_video(session, key, VideoStatus.EXTRACTED, **values)
        store_spent(session, key, num_frames=num_frames, bytes_written=frames_bytes)


def _put_back(platform: Platform, key: str) -> None:
    """Set a video back to DOWNLOADED after an unexpected exception, which `ItemGuard` handles."""
    with suppress(DATABASE_ERROR), platform.database.transaction() as session:
        move_video(session, key, VideoStatus.DOWNLOADED, only_from={VideoStatus.EXTRACTING})
        store_spent(session, key, is_failed=True)


def _record_fault(platform: Platform, key: str, fault: ItemFault) -> VideoOutcome:
    return record_item_fault(platform.database, key, fault, stage=WorkStage.EXTRACTION, only_from=_HAS_FILE)


def _record_failed(platform: Platform, row: VideoRow, kind: VideoErrorKind, message: str) -> VideoOutcome:
    attempts = row.attempts + (0 if kind is VideoErrorKind.DISK_FULL else 1)  # a full disk is not the video's fault
    decision = decide_failure(kind, attempts, None, utc_now(), platform.config.downloading)
    keeps_frames = row.status is VideoStatus.EXTRACTED and frames_identity(platform.layout, row.key) is not None
    with platform.database.transaction() as session:
        if keeps_frames:  # made with earlier settings or by an earlier version, but still usable
            failure = Failure(kind, message, basis=_basis_of(platform, row.key))
            move_video(session, row.key, VideoStatus.EXTRACTED, attempts=attempts)
            record_attempt(session, WorkStage.EXTRACTION, row.key, failure, decision.retry_after)
        else:
            move_video(
                session,
                row.key,
                VideoStatus.FAILED,
                error_kind=kind,
                error=message,
                attempts=attempts,
                retry_after=decision.retry_after,
            )
        store_spent(session, row.key, is_failed=True)
    logger.warning("%s: no %sframes were extracted: %s", row.key, "new " if keeps_frames else "", message)
    return VideoOutcome(row.key, OutcomeStatus.FAILED, kind, message)
