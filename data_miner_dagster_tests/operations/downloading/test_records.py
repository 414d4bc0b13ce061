"""Test what the catalog records about downloads that end at the same moment, on both databases."""

from functools import partial

import pytest

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.records import record_done
from data_miner_dagster.storage.videos import VideoInfo
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.together import run_together

PICTURES = "0123456789abcdef" * 2


def end_download(database: Database, key: str, sha256: str, fingerprint: str | None) -> None:
    file = VideoFileRecord("video.mp4", 1, sha256, 2.0, 160, 120)
    info = VideoInfo(video_key=key, file=file, url=None, extractor="x", content_fingerprint=fingerprint)
    with database.transaction() as session:
        record_done(session, info, {})


@pytest.mark.parametrize("by", ["bytes", "pictures"])
def test_record_done__of_the_same_content_at_once_all_but_one_are_linked_to_it(database: Database, by: str) -> None:
    for number in range(5):
        keys = [f"urls-{number}-{letter}" for letter in "abc"]
        ends = []
        for place, key in enumerate(keys):
            add_video(database, key, status=VideoStatus.DOWNLOADING)
            sha256 = f"{number:064d}" if by == "bytes" else f"{number:062d}{place:02d}"
            pictures = None if by == "bytes" else f"{PICTURES[number:]}{PICTURES[:number]}"
            ends.append(partial(end_download, database, key, sha256, pictures))
        run_together(*ends)
        links = {video.key: video.duplicate_of for video in find_videos(database, keys)}
        (first,) = [key for key, link in links.items() if link is None]
        assert links == {key: None if key == first else first for key in keys}
