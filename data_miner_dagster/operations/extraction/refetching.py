"""Re-download video files that are missing, usually because they were removed to free space. Report the cost.

A file is needed again if its frames are missing, damaged or stale, or if the user requests new ones. If a source now
delivers different bytes, they are accepted, and frames are extracted from them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import VideoOutcome
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.operations.platform import Platform

logger = logging.getLogger(__name__)


class SourcesMissingError(DataMinerError):
    """Raised if video files are missing and the platform may not download them."""

    def __init__(self, video_keys: Sequence[str]) -> None:
        self.video_keys = tuple(video_keys)
        first, num_videos = min(video_keys), len(video_keys)
        files = "the file of 1 video is" if num_videos == 1 else f"the files of {counted(num_videos, 'video')} are"
        named = first if num_videos == 1 else f"{first}, ..."
        super().__init__(f"{files} missing ({named}), and the platform is offline; download missing files first")


@dataclass(frozen=True, slots=True)
class RefetchPrice:
    """The number and total size of the videos whose missing files must be downloaded again to extract frames."""

    num_videos: int
    size_bytes: int

    def __str__(self) -> str:
        """Return the cost as one human-readable line."""
        return (
            f"{counted(self.num_videos, 'video')} ({size_text(self.size_bytes)}) must be downloaded again to extract "
            f"frames, because {'its file is' if self.num_videos == 1 else 'their files are'} missing"
        )


def fetch_missing_sources(platform: Platform, rows: Sequence[VideoRow]) -> dict[str, VideoOutcome]:
    """Log the cost, and download the files of videos again. Return each video's outcome, by video key.

    If a video is no longer available, its frames are left unchanged. If a source delivers different bytes than before,
    a warning is logged.

    Raises:
        SourcesMissingError: `rows` is not empty, and the platform is offline.
        OutageError: the network is down, or a disk or memory error affects all videos.
        SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
    """
    from data_miner_dagster.operations.downloading.download_videos import download_videos

    if not rows:
        return {}
    if platform.is_offline:
        raise SourcesMissingError([row.key for row in rows])
    logger.info("%s", RefetchPrice(len(rows), sum(row.size_bytes or 0 for row in rows)))
    outcomes = download_videos(platform, [row.key for row in rows], force=True)
    sha256_before = {row.key: row.sha256 for row in rows}
    for row in find_videos(platform.database, list(sha256_before)):
        if row.sha256 != sha256_before[row.key]:
            logger.warning(
                "%s: its source delivers different bytes than before (sha256 %s, was %s); new frames are extracted",
                row.key,
                row.sha256,
                sha256_before[row.key],
            )
    return {outcome.video_key: outcome for outcome in outcomes}
