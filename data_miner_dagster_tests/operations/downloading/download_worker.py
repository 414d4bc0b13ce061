"""Download all videos of a catalog in a process that tests kill. The argument is the root."""

import sys
from pathlib import Path

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster_tests.support.local_projects import make_platform

if __name__ == "__main__":
    platform = make_platform(Path(sys.argv[1]), concurrent_downloads=4)
    download_videos(
        platform,
        [row.key for row in find_videos(platform.database)],
        # Several threads print outcomes, and a line that is written in one piece is not split by another.
        report=lambda outcome: print(f"{outcome.video_key} {outcome.status.value}\n", end="", flush=True),
    )
