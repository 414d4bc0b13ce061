"""Test that a project whose rules cannot be loaded decides nothing and does not stop other projects' downloads."""

from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video

NAMES = ("own", "shared", "other")


def page_of(name: str, title: str) -> str:
    return f"<html><head><title>{title}</title></head><body><video src='/{name}.mp4'></video></body></html>"


@pytest.fixture
def platform(tmp_path: Path, server: HostileServer) -> Platform:
    """Return a platform where `p`, whose blocklist is gone, wants two videos, and `q` wants one of them."""
    platform = make_platform(tmp_path / "root")
    clip = make_video(tmp_path / "clip.mp4").read_bytes()
    for name in NAMES:
        server.add(f"/{name}.mp4", hostile.whole_file(clip))
        server.add(f"/{name}", hostile.page(page_of(name, name)))
    blocklist = tmp_path / "tags.txt"
    blocklist.write_text("#ads\n")
    for project, wanted, rules in (
        ("p", ("own", "shared"), {"blocked_hashtags_file": "tags.txt"}),
        ("q", ("shared", "other"), {"blocked_words": ["toy"]}),
    ):
        sources = [{"type": "urls", "urls": [server.url(f"/{name}") for name in wanted]}]
        add_project(platform, sources, name=project, rules=rules, config_file=tmp_path / f"{project}.yaml")
        list_sources(platform, project)
    blocklist.unlink()
    return platform


def key_of(platform: Platform, server: HostileServer, name: str) -> str:
    members = [*find_members(platform.database, "p"), *find_members(platform.database, "q")]
    rows = (find_video(platform.database, member.video_key) for member in members)
    return next(row.key for row in rows if row is not None and row.url == server.url(f"/{name}"))


def test_download_videos__a_missing_blocklist_delays_only_the_videos_of_its_project(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    keys = [key_of(platform, server, name) for name in NAMES]
    before = server.count("/own")
    own, shared, other = download_videos(platform, keys)
    assert (own.status, own.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.TRANSIENT)
    assert own.message.endswith("tags.txt does not exist; correct its path")
    assert server.count("/own") == before
    row = find_video(platform.database, keys[0])
    assert row is not None
    assert row.retry_after is not None
    assert row.retry_after > utc_now()
    assert (row.status, row.attempts, row.error) == (VideoStatus.FAILED, 0, own.message)
    assert (shared.status, other.status) == (OutcomeStatus.DONE, OutcomeStatus.DONE)
    statuses = {member.video_key: member.status for member in find_members(platform.database, "p")}
    assert statuses[keys[1]] is not ProjectVideoStatus.REJECTED
    (tmp_path / "tags.txt").write_text("#ads\n")
    assert download_videos(platform, keys[:1], force=True)[0].status is OutcomeStatus.DONE


def test_download_videos__that_another_project_rejects_waits_for_the_rules(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    key = key_of(platform, server, "shared")
    server.add("/shared", hostile.page(page_of("shared", "A toy")))
    outcome = download_videos(platform, [key])[0]
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.TRANSIENT)
    assert "tags.txt does not exist" in outcome.message
    assert server.count("/shared.mp4") == 0
    (tmp_path / "tags.txt").write_text("#ads\n")
    assert download_videos(platform, [key], force=True)[0].status is OutcomeStatus.DONE


def test_download_videos__settings_that_do_not_fit_this_version_delay_only_their_project(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "tags.txt").write_text("#ads\n")
    row = find_project(platform.database, "p")
    assert row is not None
    sourcing = row.config["sourcing"]
    assert isinstance(sourcing, dict)
    config = {**row.config, "sourcing": {**sourcing, "max_videos": "many"}}
    update_project(platform.database, "p", config=config)
    own, other = download_videos(platform, [key_of(platform, server, name) for name in ("own", "other")])
    assert (own.error_kind, other.status) == (VideoErrorKind.TRANSIENT, OutcomeStatus.DONE)
    assert "max_videos" in own.message
