"""A worker process for tests: `python -m data_miner_dagster_tests.catalog.competing_worker MODE URL [ARGUMENT]`.

compete: tries to download every PENDING video once, under its claim, and prints the keys it won.
hold: takes one claim, prints "held", and sleeps until it is killed.
initialize: creates the tables and prints "done".
"""

import random
import sys
import time

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.statuses import VideoStatus


def compete(database: Database) -> None:
    """Try to download all videos in a random order."""
    keys = [video.key for video in find_videos(database)]
    random.shuffle(keys)
    for key in keys:
        with hold_claim(database, f"video/{key}", wait_seconds=60):
            with database.transaction() as session:
                is_mine = move_video(session, key, VideoStatus.DOWNLOADING, only_from={VideoStatus.PENDING})
            if not is_mine:
                continue
            time.sleep(0.002)
            with database.transaction() as session:
                assert move_video(session, key, VideoStatus.DOWNLOADED)
            print(key, flush=True)


def main() -> None:
    """Run the mode that the arguments name."""
    mode, url = sys.argv[1:3]
    database = Database(url)
    if mode == "initialize":
        initialize(database)
        find_projects(database)
        print("done", flush=True)
    elif mode == "compete":
        sys.stdin.readline()  # wait, so that all workers start together
        compete(database)
    elif mode == "hold":
        with hold_claim(database, sys.argv[3], wait_seconds=0):
            print("held", flush=True)
            time.sleep(600)


if __name__ == "__main__":
    main()
