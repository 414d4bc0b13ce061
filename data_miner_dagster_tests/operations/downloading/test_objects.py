"""Test videos in buckets, downloaded from a real S3 server with faults."""

from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.objects import bucket_store
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.storage.videos import read_video_info
from data_miner_dagster_tests.support.buckets import BUCKET, Fault, FaultyBuckets
from data_miner_dagster_tests.support.local_projects import POLITENESS_OFF, add_project
from data_miner_dagster_tests.support.small_videos import make_video


def _platform(root: Path, buckets: FaultyBuckets, **downloading: Any) -> Platform:
    settings = {"downloading": {**POLITENESS_OFF, **downloading}, "objects": buckets.settings(tries=2)}
    return Platform(PlatformConfig.model_validate(settings), root)


def _keys(platform: Platform, *names: str) -> list[str]:
    from data_miner_dagster.domain.object_urls import ObjectUrl
    from data_miner_dagster.sites.keys import key_of_object

    add_project(platform, [{"type": "objects", "urls": [f"s3://{BUCKET}/films"]}])
    list_sources(platform, "p", force=True)
    return [key_of_object(ObjectUrl("s3", BUCKET, f"films/{name}")) for name in names]


def test_download_videos__of_a_bucket_with_faults(
    buckets: FaultyBuckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_video(tmp_path / "clip.mp4", num_frames=60, size_wh=(160, 120)).read_bytes()
    monkeypatch.setattr(bucket_store, "_RANGE_BYTES", len(clip) // 2 + 1)
    for name in ("good.mp4", "gone.mp4", "forbidden.mp4", "empty.mp4", "huge.mp4", "text.mp4"):
        buckets.put(f"films/{name}", clip)
    buckets.put("films/empty.mp4", b"")
    buckets.put("films/huge.mp4", clip * 3)
    buckets.put("films/text.mp4", b"no video" * 100)
    platform = _platform(tmp_path / "root", buckets, max_size_bytes=2 * len(clip))
    keys = _keys(platform, "good.mp4", "gone.mp4", "forbidden.mp4", "empty.mp4", "huge.mp4", "text.mp4")
    buckets.client.delete_object(Bucket=BUCKET, Key="films/gone.mp4")
    buckets.faults += [
        Fault("403", "HEAD", "forbidden.mp4", num_times=9),
        Fault("503", "GET", "good.mp4", num_times=3, after=1),  # more often than a request is tried
    ]
    buckets.requests.clear()
    outcomes = download_videos(platform, keys)
    assert [(outcome.status, outcome.error_kind) for outcome in outcomes] == [
        (OutcomeStatus.DONE, None),
        (OutcomeStatus.UNAVAILABLE, VideoErrorKind.REMOVED),
        (OutcomeStatus.UNAVAILABLE, VideoErrorKind.FORBIDDEN),
        (OutcomeStatus.FAILED, VideoErrorKind.EMPTY_FILE),
        (OutcomeStatus.FAILED, VideoErrorKind.TOO_LARGE),
        (OutcomeStatus.FAILED, VideoErrorKind.NOT_A_VIDEO),
    ], outcomes
    good = platform.layout.video_folder(keys[0])
    assert sorted(path.name for path in good.iterdir()) == ["info.json", "video.mp4"]
    assert sha256_of_file(good / "video.mp4") == sha256_of_file(tmp_path / "clip.mp4")
    first = f"GET /{BUCKET}/films/good.mp4 bytes=0-"
    assert sum(line.startswith(first) for line in buckets.requests) == 1  # it continued where it was cut off
    info, row = read_video_info(platform.layout, keys[0]), find_video(platform.database, keys[0])
    assert info is not None
    assert row is not None
    assert (info.url, info.extractor) == (f"s3://{BUCKET}/films/good.mp4", "object")
    assert (row.status, row.title, row.attempts) == (VideoStatus.DOWNLOADED, "good", 1)
    assert download_videos(platform, keys[:1])[0].status is OutcomeStatus.REUSED


def test_download_videos__of_a_bucket_whose_settings_are_gone_charges_its_videos_alone(
    buckets: FaultyBuckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.put("films/a.mp4", b"x")
    platform = _platform(tmp_path / "root", buckets, tries_per_run=1)
    keys = _keys(platform, "a.mp4")
    monkeypatch.delenv("TEST_BUCKET_SECRET")
    outcome = download_videos(platform, keys)[0]
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.TRANSIENT)
    assert "TEST_BUCKET_SECRET is not set" in outcome.message
