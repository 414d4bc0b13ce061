"""Decide whether a download may start, and whether its failure counts against its video or postpones it.

Disk space or the root's quota may delay a start. A failure that concerns the whole site does not count against the
video.
"""

import shutil
from datetime import datetime, timedelta
from typing import Final

from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import TransientError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import NotYetError, PostponedError, SitePoliteness
from data_miner_dagster.operations.room import RoomFound
from data_miner_dagster.stages.downloading.failures import backoff_seconds
from data_miner_dagster.stages.downloading.room import RoomAnswer

_POLL_SECONDS: Final = 0.3


class NoRoomYetError(TransientError):
    """Raised if a download must wait until other videos are extracted and their files can be removed."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


def check_head_room(platform: Platform, row: VideoRow) -> None:
    """Raise if too little disk space is free for a download to start. Local files that are not copied need no space.

    Raises:
        PostponedError: the disk has less than `min_free_bytes` free.
    """
    config = platform.config.downloading
    if row.origin is Origin.LOCAL and (config.local_files != "copy" or row.key.startswith(FRAMES_PREFIX)):
        return  # nothing is copied
    free = shutil.disk_usage(platform.root).free
    if free < config.min_free_bytes:
        raise _postponed(
            platform,
            row,
            f"only {size_text(free)} is free under {platform.root}, less than platform.downloading.min_free_bytes "
            f"({size_text(config.min_free_bytes)}); free some space, or lower the limit",
        )


def check_room(platform: Platform, row: VideoRow, found: RoomFound) -> None:
    """Raise if the quota does not allow a download to start now.

    Raises:
        NotYetError: other downloads come first. The wait is short.
        NoRoomYetError: the download must wait until other videos are extracted.
        PostponedError: the existing files leave too little space, and none of them may be removed.
    """
    match found.answer:
        case RoomAnswer.AFTER_DOWNLOADS:
            raise NotYetError(_POLL_SECONDS)
        case RoomAnswer.AFTER_EXTRACTION:
            raise NoRoomYetError(found.message, utc_now() + timedelta(seconds=found.wait_seconds))
        case RoomAnswer.NO:
            message = (
                f"{found.message}, and none of it may be removed automatically; raise platform.room.quota, or run "
                "`data-miner clean`"
            )
            raise _postponed(platform, row, message)


def postpone_if_not_its_own(
    politeness: SitePoliteness,
    site: str,
    attempts: int,
    error: VideoPermanentError | VideoTransientError,
    config: DownloadingConfig,
) -> None:
    """Raise if a failure must not count against its video. A rate limit or bot check also opens the site's breaker.

    Raises:
        PostponedError: something other than the video caused the failure, so the download does not count as an attempt.
    """
    if error.kind is VideoErrorKind.DISK_FULL:
        until = utc_now() + timedelta(seconds=backoff_seconds(attempts, config))
        raise PostponedError(error.kind, until, str(error)) from error
    if error.kind in (VideoErrorKind.RATE_LIMITED, VideoErrorKind.BOT_CHECK):
        wait = error.retry_after_seconds if isinstance(error, VideoTransientError) else None
        if wait is None and error.kind is VideoErrorKind.RATE_LIMITED:
            politeness.check_gate(site)  # another video opened the breaker and stored the reason
        until = politeness.trip(site, wait, f"{site}: {error}")
        raise PostponedError(error.kind, until, str(error)) from None


def _postponed(platform: Platform, row: VideoRow, message: str) -> PostponedError:
    until = utc_now() + timedelta(seconds=backoff_seconds(row.attempts + 1, platform.config.downloading))
    return PostponedError(VideoErrorKind.DISK_FULL, until, message)
