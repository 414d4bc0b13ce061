"""A refusal of a whole site is one event, seen from the hostile server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.politeness import closed_gates, gate_state
from data_miner_dagster.catalog.schema import SiteGateRow, VideoRow, utc_now
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere
from data_miner_dagster_tests.sites.hostile_server import Answer, HostileServer
from data_miner_dagster_tests.sites.projects import add_project, make_platform
from data_miner_dagster_tests.sites.tiny_videos import make_video

SITE = "127.0.0.1"
NUM_VIDEOS = 30


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=5).read_bytes()


def listed(platform: Platform, urls: list[str]) -> list[str]:
    add_project(platform, [{"type": "urls", "urls": urls}])
    list_sources(platform, "p", force=True)
    by_url = {video.url: video.key for video in platform.catalog.videos()}
    return [by_url[url] for url in urls]


def offer(server: HostileServer, answer: Answer, num_videos: int = NUM_VIDEOS) -> list[str]:
    return [server.add(f"/{n:02d}.mp4", answer) for n in range(num_videos)]


def let_time_pass(platform: Platform) -> None:
    """Let the time pass until which the site's breaker is open."""
    past = utc_now() - timedelta(seconds=1)
    with platform.catalog.database.transaction() as session:
        session.get_one(SiteGateRow, SITE).closed_until = past
        for row in session.query(VideoRow).filter(VideoRow.retry_after.is_not(None)):
            row.retry_after = past


def assert_one_event(platform: Platform, outcomes: list[VideoOutcome], *, minutes: float = 15) -> None:
    """The site is closed with a reason, and every video that is not there waits for it, uncharged."""
    gate = gate_state(platform.catalog.database, SITE).closed
    assert gate is not None
    assert gate.site == SITE
    assert gate.is_event
    assert "127.0.0.1 refuses everything" in gate.reason
    assert "yt-dlp 20" in gate.reason
    assert "old" in gate.reason
    assert minutes * 60 - 60 < (gate.until - utc_now()).total_seconds() <= minutes * 60
    rows = {row.key: row for row in platform.catalog.videos()}
    for outcome in outcomes:
        row = rows[outcome.video_key]
        if row.status is VideoStatus.DOWNLOADED:
            continue
        assert outcome.status is OutcomeStatus.FAILED
        assert outcome.error_kind is VideoErrorKind.SITE_REFUSAL, outcome
        assert (row.status, row.error_kind, row.attempts) == (VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL, 0)
        assert row.retry_after is not None
        assert timedelta(0) < row.retry_after - utc_now() <= timedelta(hours=6)
        assert "refuses everything" in (row.error or "")


def half(clip: bytes) -> Answer:
    """Whole by its headers, and the second half is missing."""
    return hostile.whole_file(clip[: len(clip) // 2])


@pytest.mark.parametrize(("concurrency", "has_served"), [(1, False), (4, True)])
@pytest.mark.parametrize("refusal", ["403", "cut off", "half a file", "empty"])
def test_wave__is_one_event_and_heals(
    tmp_path: Path, server: HostileServer, clip: bytes, refusal: str, concurrency: int, has_served: bool
) -> None:
    answers = {
        "403": hostile.status(403),
        "cut off": hostile.cut_off(clip, 0.5),
        "half a file": half(clip),
        "empty": hostile.whole_file(b""),
    }
    platform = make_platform(tmp_path / "root", concurrent_downloads=concurrency)
    before = offer(server, hostile.whole_file(clip), 3) if has_served else []
    urls = [server.add(f"/w{n:02d}.mp4", answers[refusal]) for n in range(NUM_VIDEOS)]
    keys = listed(platform, before + urls)
    if has_served:
        assert {outcome.status for outcome in download_videos(platform, keys[:3])} == {OutcomeStatus.DONE}
    waiting = keys[len(before) :]
    asked = server.count()
    reported = dict[str, VideoOutcome]()
    outcomes = download_videos(platform, waiting, report=lambda outcome: reported.update({outcome.video_key: outcome}))
    assert server.count() - asked <= 3 + concurrency - 1
    assert_one_event(platform, outcomes)
    assert reported == {outcome.video_key: outcome for outcome in outcomes}

    asked = server.count()
    download_videos(platform, waiting)  # nothing is asked before its time
    assert server.count() == asked
    let_time_pass(platform)  # it refuses still: one request, and twice the time
    assert_one_event(platform, download_videos(platform, waiting), minutes=30)
    assert server.count() == asked + 1

    let_time_pass(platform)  # it has healed
    for number in range(NUM_VIDEOS):
        server.add(f"/w{number:02d}.mp4", hostile.whole_file(clip))
    assert {outcome.status for outcome in download_videos(platform, waiting)} == {OutcomeStatus.DONE}
    state = gate_state(platform.catalog.database, SITE)
    assert (state.closed, state.num_trips, state.is_event) == (None, 0, False)
    assert {row.attempts for row in platform.catalog.videos()} == {1}


def test_wave__one_video_first_then_the_others(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root", concurrent_downloads=4)
    keys = listed(platform, offer(server, hostile.status(403), 12))
    download_videos(platform, keys)
    let_time_pass(platform)
    refused = {request.path for request in server.requests}
    offer(server, hostile.slow_body(clip, 0.05, pieces=5), 12)
    asked = len(server.requests)
    assert {outcome.status for outcome in download_videos(platform, keys)} == {OutcomeStatus.DONE}
    first, second = server.requests[asked : asked + 2]
    assert second.at - first.at >= 0.2  # after the last byte of the first
    assert first.path not in refused  # one that was not refused before shows better whether the site serves again


def test_lone_refusals__between_successes_are_the_videos_own(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.whole_file(clip), 12)
    for number in (0, 3, 6, 9, 10):
        server.add(f"/{number:02d}.mp4", hostile.status(403))
    server.add("/02.mp4", hostile.cut_off(clip, 0.5))
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.error_kind for outcome in outcomes if outcome.status is OutcomeStatus.UNAVAILABLE] == [
        VideoErrorKind.FORBIDDEN
    ] * 5
    assert outcomes[2].error_kind is VideoErrorKind.CUT_OFF
    assert sum(outcome.status is OutcomeStatus.DONE for outcome in outcomes) == 6
    assert closed_gates(platform.catalog.database) == []
    for row in platform.catalog.videos():
        if row.status is VideoStatus.UNAVAILABLE:
            assert row.retry_after is not None
            assert row.retry_after - utc_now() > timedelta(days=29)
            assert row.attempts == 1


def test_lone_refusals__in_a_row_are_found_to_be_their_own_when_the_site_serves_others(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    """Three that are forbidden one after another look like an event; the time after shows that they are none."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.whole_file(clip), 8)
    for number in (0, 1, 2):
        server.add(f"/{number:02d}.mp4", hostile.status(403))
    keys = listed(platform, urls)
    assert_one_event(platform, download_videos(platform, keys))
    let_time_pass(platform)
    outcomes = download_videos(platform, keys)
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.UNAVAILABLE] * 3 + [OutcomeStatus.DONE] * 5
    assert gate_state(platform.catalog.database, SITE).closed is None


def test_known_refusals__looked_at_again_are_no_event(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    """A month later all videos that are forbidden for themselves are asked for again, one after another."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.whole_file(clip), 10)
    for number in (0, 2, 4, 6, 8):
        server.add(f"/{number:02d}.mp4", hostile.status(403))
    keys = listed(platform, urls)
    download_videos(platform, keys)
    with platform.catalog.database.transaction() as session:
        for row in session.query(VideoRow).filter(VideoRow.retry_after.is_not(None)):
            row.retry_after = utc_now()
    again = download_videos(platform, keys[::2])
    assert {outcome.status for outcome in again} == {OutcomeStatus.UNAVAILABLE}
    assert closed_gates(platform.catalog.database) == []


def test_wave__of_one_site_leaves_others_alone(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "127.0.0.2"))
        urls = offer(server, hostile.status(403), 6) + offer(other, hostile.whole_file(clip), 6)
        outcomes = download_videos(platform, listed(platform, urls))
    assert_one_event(platform, outcomes[:6])
    assert {outcome.status for outcome in outcomes[6:]} == {OutcomeStatus.DONE}


@pytest.mark.parametrize("words", ["Requested format is not available", "No video formats found!"])
def test_wave__of_missing_formats(
    tmp_path: Path, server: HostileServer, clip: bytes, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Pages that offer pictures alone: yt-dlp itself says that formats are missing."""

    install_everywhere(monkeypatch)
    platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "localhost"))
    content = "pictures" if "Requested" in words else "nothing"
    for number in range(10):
        server.add(f"/changed/{number}", hostile.page(f"<html>{content}</html>"))
    keys = listed(platform, [server.url(f"/changed/{number}", host="localhost") for number in range(10)])
    outcomes = download_videos(platform, keys)
    assert server.count() <= 3 + 3
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.SITE_REFUSAL}
    gate = gate_state(platform.catalog.database, "changed").closed
    assert gate is not None
    assert words in gate.reason
    assert "(no_formats)" in gate.reason


def test_wave__is_counted_across_processes(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    root = tmp_path / "root"
    platform = make_platform(root, concurrent_downloads=1)
    keys = listed(platform, offer(server, hostile.status(403), 12))
    assert [outcome.status for outcome in download_videos(platform, keys[:2])] == [OutcomeStatus.UNAVAILABLE] * 2
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "data_miner_dagster_tests.operations.download_worker", str(root)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert server.count() <= 3 + 3  # the worker has four threads
    rows = platform.catalog.videos()
    assert {(row.status, row.error_kind) for row in rows} == {(VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL)}
    assert {row.attempts for row in rows} == {0}


def test_wave__of_two_processes_at_once_is_one_event_and_heals_by_one_probe(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    root = tmp_path / "root"
    platform = make_platform(root)
    listed(platform, offer(server, hostile.status(403)))

    def two_workers() -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "data_miner_dagster_tests.operations.download_worker", str(root)]
        workers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [worker.wait() for worker in workers] == [0, 0]

    two_workers()
    assert server.count() <= 3 + 2 * 4 - 1  # what eight threads had on its way
    rows = platform.catalog.videos()
    assert {(row.status, row.error_kind) for row in rows} == {(VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL)}
    assert {row.attempts for row in rows} == {0}

    let_time_pass(platform)
    offer(server, hostile.slow_body(clip, 0.05, pieces=5))
    asked = server.count()
    two_workers()
    assert {row.status for row in platform.catalog.videos()} == {VideoStatus.DOWNLOADED}
    first, second = server.requests[asked : asked + 2]
    assert second.at - first.at >= 0.2  # after the last byte of the first
    assert server.count() == asked + NUM_VIDEOS
