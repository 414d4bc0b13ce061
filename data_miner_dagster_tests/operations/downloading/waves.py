"""Many videos on the hostile server, and the state of the catalog after a site has refused all requests."""

from datetime import timedelta

from data_miner_dagster.catalog.politeness import gate_state
from data_miner_dagster.catalog.schema import SiteGateRow, VideoRow, utc_now
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import Answer, HostileServer
from data_miner_dagster_tests.support.local_projects import add_project

SITE = "127.0.0.1"
NUM_VIDEOS = 16


def listed(platform: Platform, urls: list[str]) -> list[str]:
    add_project(platform, [{"type": "urls", "urls": urls}])
    list_sources(platform, "p", force=True)
    by_url = {video.url: video.key for video in find_videos(platform.database)}
    return [by_url[url] for url in urls]


def offer(server: HostileServer, answer: Answer, num_videos: int = NUM_VIDEOS) -> list[str]:
    return [server.add(f"/{n:02d}.mp4", answer) for n in range(num_videos)]


def most_requests(num_threads: int) -> int:
    """Return how many videos all processes together may request from a site that refuses them before its breaker opens.

    The breaker opens at the third refusal in a row or later, once a refused video was requested after another refusal.
    Each thread's first video was requested before any refusal, so each thread requests a second one. One of them, if it
    is refused twice before the others are refused once, also requests a third.
    """
    return 2 * num_threads + 1


def let_time_pass(platform: Platform, site: str = SITE) -> None:
    """Move the time until which the site's breaker is open, and the retry times of all videos, into the past."""
    past = utc_now() - timedelta(seconds=1)
    with platform.database.transaction() as session:
        session.get_one(SiteGateRow, site).closed_until = past
        for row in session.query(VideoRow).filter(VideoRow.retry_after.is_not(None)):
            row.retry_after = past


def assert_one_event(
    platform: Platform, outcomes: list[VideoOutcome], *, minutes: float = 15, site: str = SITE
) -> None:
    """Assert that the site's breaker is open, with a reason, and that all missing videos wait for it, uncharged."""
    gate = gate_state(platform.database, site).closed
    assert gate is not None
    assert gate.site == site
    assert gate.is_event
    assert f"{site} refuses all requests" in gate.reason
    assert "yt-dlp 20" in gate.reason
    assert "old" in gate.reason
    assert minutes * 60 - 60 < (gate.until - utc_now()).total_seconds() <= minutes * 60
    rows = {row.key: row for row in find_videos(platform.database)}
    for outcome in outcomes:
        row = rows[outcome.video_key]
        if row.status is VideoStatus.DOWNLOADED:
            continue
        assert outcome.status is OutcomeStatus.FAILED
        assert outcome.error_kind is VideoErrorKind.SITE_REFUSAL, outcome
        assert (row.status, row.error_kind, row.attempts) == (VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL, 0)
        assert row.retry_after is not None
        assert timedelta(0) < row.retry_after - utc_now() <= timedelta(hours=6)
        assert "refuses all requests" in (row.error or "")


def half(clip: bytes) -> Answer:
    """Return an answer whose headers describe half of a clip as the whole file."""
    return hostile.whole_file(clip[: len(clip) // 2])
