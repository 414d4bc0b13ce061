"""Whether a download may begin, or has to wait for what is no fault of its video's.

That is room on the disk and under the quota of the root, and its site.
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
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import NotYetError, PostponedError, SitePoliteness
from data_miner_dagster.operations.room import RoomFound
from data_miner_dagster.stages.downloading.failures import backoff_seconds
from data_miner_dagster.stages.downloading.room import RoomAnswer

_POLL_SECONDS: Final = 0.3


class NoRoomYetError(TransientError):
    """Videos that wait for their frames take the room; their files can be removed once they have been extracted."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


def check_head_room(platform: Platform, row: VideoRow) -> None:
    """Do nothing if the disk has room for a download to begin.

    Raises:
        PostponedError: it has less than `min_free_bytes`.
    """
    config = platform.config.downloading
    if row.origin is Origin.LOCAL and (config.local_files != "copy" or row.key.startswith(FRAMES_PREFIX)):
        return  # nothing is copied
    free = shutil.disk_usage(platform.root).free
    if free < config.min_free_bytes:
        raise _postponed(
            platform,
            row,
            f"{free} bytes are free under {platform.root}, less than min_free_bytes {config.min_free_bytes}",
        )


def check_room(platform: Platform, row: VideoRow, found: RoomFound) -> None:
    """Do nothing if a download may begin under the quota.

    Raises:
        NotYetError: other downloads come first, for a moment.
        NoRoomYetError: it has to wait for others to be extracted.
        PostponedError: what is there stays, and takes all room.
    """
    match found.answer:
        case RoomAnswer.AFTER_DOWNLOADS:
            raise NotYetError(_POLL_SECONDS)
        case RoomAnswer.AFTER_EXTRACTION:
            raise NoRoomYetError(found.message, utc_now() + timedelta(seconds=found.wait_seconds))
        case RoomAnswer.NO:
            message = f"{found.message}, and nothing of it can be removed; raise platform.room.quota"
            raise _postponed(platform, row, message)


def postpone_if_not_its_own(
    politeness: SitePoliteness,
    site: str,
    attempts: int,
    error: VideoPermanentError | VideoTransientError,
    config: DownloadingConfig,
) -> None:
    """Do nothing about a failure that is charged to its video.

    Raises:
        PostponedError: it is no fault of the video's, so no attempt.
    """
    if error.kind is VideoErrorKind.DISK_FULL:
        until = utc_now() + timedelta(seconds=backoff_seconds(attempts, config))
        raise PostponedError(error.kind, until, str(error)) from error
    if error.kind in (VideoErrorKind.RATE_LIMITED, VideoErrorKind.BOT_CHECK):
        wait = error.retry_after_seconds if isinstance(error, VideoTransientError) else None
        if wait is None and error.kind is VideoErrorKind.RATE_LIMITED:
            politeness.check_gate(site)  # opened by another video, which knows why
        until = politeness.trip(site, wait, f"{site}: {error}")
        raise PostponedError(error.kind, until, str(error)) from None


def _postponed(platform: Platform, row: VideoRow, message: str) -> PostponedError:
    until = utc_now() + timedelta(seconds=backoff_seconds(row.attempts + 1, platform.config.downloading))
    return PostponedError(VideoErrorKind.DISK_FULL, until, message)
