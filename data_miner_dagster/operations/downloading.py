"""`download_videos`: from a key in the catalog to a proven file under the root."""

import logging
import shutil
import time
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.sites.local_files import fetch_local_file
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.sites.ytdlp import FetchedVideo, SiteClient
from data_miner_dagster.stages.downloading import decide_failure, try_delay_seconds
from data_miner_dagster.storage.atomic import PARTIAL_MARK
from data_miner_dagster.storage.videos import VideoInfo, read_video_info, write_video_info

logger = logging.getLogger("data_miner.downloading")

PARTIAL_FOLDER: Final = f"{PARTIAL_MARK}download"
"""Inside the video's folder; survives a kill, so that the next attempt goes on from its bytes."""


def download_videos(
    platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
) -> list[VideoOutcome]:
    """Download videos that are not there yet, several at once; return one outcome a key, in the order given.

    Idempotent: a video whose manifest and file are there is REUSED. A failure of one is recorded with its kind and
    stops no other. A video that failed before is tried again when its retry date has passed, or with `force`.
    """
    with (
        SiteClient(platform.config.downloading) as client,
        ThreadPoolExecutor(platform.config.downloading.concurrent_downloads, "download") as threads,
    ):

        def one(key: str) -> VideoOutcome:
            outcome = _download_one(platform, client, key, force=force)
            if report is not None:
                report(outcome)
            return outcome

        return list(threads.map(one, video_keys))


def _download_one(platform: Platform, client: SiteClient, key: str, *, force: bool) -> VideoOutcome:
    with platform.hold_video(key):
        row = platform.catalog.video(key)
        if row is None:
            return VideoOutcome(
                key, OutcomeStatus.BLOCKED, message=f"no video {key!r} in the catalog; list the sources that hold it"
            )
        info = None if force else read_video_info(platform.layout, key)
        if info is not None:
            _mend_row(platform, row, info.file)
            return VideoOutcome(key, OutcomeStatus.REUSED, metadata=_metadata(info))
        if (
            row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
            and not force
            and not platform.catalog.is_due(row)
        ):
            status = OutcomeStatus.FAILED if row.status is VideoStatus.FAILED else OutcomeStatus.UNAVAILABLE
            return VideoOutcome(key, status, row.error_kind, row.error or "")
        return _work(platform, client, row)


def _work(platform: Platform, client: SiteClient, row: VideoRow) -> VideoOutcome:
    key, attempts = row.key, row.attempts + 1
    with platform.catalog.database.transaction() as session:
        if row.status is not VideoStatus.DOWNLOADING:  # DOWNLOADING: left by a dead worker, whose claim is ours now
            move_video(session, key, VideoStatus.DOWNLOADING, attempts=attempts)
    platform.layout.video_info(key).unlink(missing_ok=True)
    try:
        info = _fetch_with_tries(platform, client, row)
    except (VideoPermanentError, VideoTransientError) as error:
        return _record_failure(platform, key, attempts, error)
    with platform.catalog.database.transaction() as session:
        platform.catalog.record_downloaded(session, key, info.file)
    return VideoOutcome(key, OutcomeStatus.DONE, metadata=_metadata(info))


def _fetch_with_tries(platform: Platform, client: SiteClient, row: VideoRow) -> VideoInfo:
    tries = 0
    while True:
        tries += 1
        try:
            return _fetch(platform, client, row)
        except VideoTransientError as error:
            delay = try_delay_seconds(tries, platform.config.downloading)
            if delay is None or error.kind is not VideoErrorKind.TRANSIENT:
                raise
            logger.info("%s: %s; trying again in %.0f s", row.key, error, delay)
            time.sleep(delay)


def _is_local(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme == "" and url.startswith("/")


def _fetch(platform: Platform, client: SiteClient, row: VideoRow) -> VideoInfo:
    """Fetch, prove, publish: file first, manifest last. Returns the manifest written."""
    config = platform.config.downloading
    folder = platform.layout.video_folder(row.key)
    partial = folder / PARTIAL_FOLDER
    partial.mkdir(parents=True, exist_ok=True)
    if _is_local(row.url):
        path = fetch_local_file(Path(row.url), partial, how=config.local_files)
        fetched = FetchedVideo(path, "file", None, "", row.title, None, None, None, None, None)
    else:
        fetched = client.fetch(row.url, partial)
    try:
        probed = probe_video(fetched.path, max_pixels=config.max_pixels)
        if probed.duration_seconds > config.max_duration_seconds:
            raise VideoPermanentError(
                VideoErrorKind.LIMIT_EXCEEDED,
                f"the video lasts {probed.duration_seconds:.0f} s, more than max_duration_seconds "
                f"{config.max_duration_seconds:.0f}",
            )
        sha256 = sha256_of_file(fetched.path)
        if row.key.startswith("file-") and row.key not in (f"file-{sha256[:32]}",) and "file-path-" not in row.key:
            raise VideoPermanentError(
                VideoErrorKind.MISSING_FILE, f"{row.url} has changed since it was listed; list the sources again"
            )
    except VideoPermanentError:
        shutil.rmtree(partial)  # these bytes are no start for another attempt
        raise
    for old in folder.glob("video.*"):
        old.unlink()
    final = folder / fetched.path.name
    fetched.path.replace(final)
    info = VideoInfo(
        video_key=row.key,
        file=VideoFileRecord(
            file_name=final.name,
            size_bytes=final.stat().st_size,
            sha256=sha256,
            duration_seconds=probed.duration_seconds,
            width=probed.width,
            height=probed.height,
            title=fetched.title,
            channel=fetched.channel,
            licence=fetched.licence,
            upload_date=fetched.upload_date,
        ),
        url=fetched.url or None,
        extractor=fetched.extractor,
        format_id=fetched.format_id,
    )
    write_video_info(platform.layout, info)
    shutil.rmtree(partial)
    return info


def _record_failure(
    platform: Platform, key: str, attempts: int, error: VideoPermanentError | VideoTransientError
) -> VideoOutcome:
    wait = error.retry_after_seconds if isinstance(error, VideoTransientError) else None
    decision = decide_failure(error.kind, attempts, wait, utc_now(), platform.config.downloading)
    with platform.catalog.database.transaction() as session:
        move_video(
            session,
            key,
            decision.status,
            error=str(error),
            error_kind=error.kind,
            retry_after=decision.retry_after,
        )
    status = OutcomeStatus.UNAVAILABLE if decision.status is VideoStatus.UNAVAILABLE else OutcomeStatus.FAILED
    return VideoOutcome(key, status, error.kind, str(error))


def _mend_row(platform: Platform, row: VideoRow, file: VideoFileRecord) -> None:
    """Bring a row up to its file, after a kill between the two, or after a reset to PENDING."""
    lags = row.status in (VideoStatus.PENDING, VideoStatus.DOWNLOADING) or (
        row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE) and row.sha256 != file.sha256
    )
    if not lags:
        return
    with platform.catalog.database.transaction() as session:
        move_video(session, row.key, VideoStatus.DOWNLOADING)
        platform.catalog.record_downloaded(session, row.key, file)


def _metadata(info: VideoInfo) -> dict[str, int | float | str]:
    metadata: dict[str, int | float | str] = {
        "size_bytes": info.file.size_bytes,
        "duration_seconds": info.file.duration_seconds,
        "width": info.file.width,
        "height": info.file.height,
    }
    if info.file.title:
        metadata["title"] = info.file.title
    if info.url:
        metadata["url"] = redact_url(info.url)
    return metadata
