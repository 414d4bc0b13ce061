"""Test refusals and damage that do not count against a site, however many follow one another."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.politeness import closed_gates, gate_state
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster_tests.operations.downloading.waves import (
    SITE,
    assert_one_event,
    half,
    let_time_pass,
    listed,
    offer,
)
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import make_platform
from data_miner_dagster_tests.support.small_videos import make_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=5).read_bytes()


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    ("damage", "kind"), [("half a file", VideoErrorKind.TRUNCATED), ("empty", VideoErrorKind.EMPTY_FILE)]
)
def test_damaged_files__of_a_plain_server_are_their_own_fault_however_many(
    tmp_path: Path, server: HostileServer, clip: bytes, damage: str, kind: VideoErrorKind, concurrency: int
) -> None:
    """The server states the file's size and sends all of it, so a later attempt would fail in the same way."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=concurrency)
    urls = offer(server, hostile.whole_file(clip), 12)
    for number in range(2, 9):
        server.add(f"/{number:02d}.mp4", half(clip) if damage == "half a file" else hostile.whole_file(b""))
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.error_kind for outcome in outcomes] == [None] * 2 + [kind] * 7 + [None] * 3
    assert server.count() == 12
    assert closed_gates(platform.database) == []
    for row in find_videos(platform.database):
        damaged = row.status is VideoStatus.FAILED
        assert (row.error_kind, row.retry_after, row.attempts) == (kind if damaged else None, None, 1)


def test_damaged_files__fetched_in_two_parts_are_whole_all_the_same(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    start = clip[: len(clip) // 2]
    urls = offer(server, half(clip), 4)
    for number in range(4):
        server.add(
            f"/{number:02d}.mp4",
            hostile.in_turn(hostile.cut_off(start, 0.5), half(clip)) if number in (1, 2) else half(clip),
        )
    outcomes = download_videos(platform, listed(platform, urls))
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.TRUNCATED}
    assert [request.range_start for request in server.requests[4:]] == [len(start) // 2] * 2
    assert closed_gates(platform.database) == []


def test_damaged_files__show_that_their_server_serves(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    """Like a good file, a complete but useless file ends a series of refusals, and an event."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.status(403), 6)
    server.add("/02.mp4", half(clip))
    keys = listed(platform, urls)
    outcomes = download_videos(platform, keys[:4])
    assert [outcome.error_kind for outcome in outcomes] == [
        VideoErrorKind.FORBIDDEN,
        VideoErrorKind.FORBIDDEN,
        VideoErrorKind.TRUNCATED,
        VideoErrorKind.FORBIDDEN,
    ]
    download_videos(platform, keys[4:])  # the second and third refusals in a row
    assert gate_state(platform.database, SITE).is_event
    let_time_pass(platform)
    for number in range(3, 6):
        server.add(f"/{number:02d}.mp4", half(clip))
    outcomes = download_videos(platform, keys[3:])
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.TRUNCATED}
    assert not gate_state(platform.database, SITE).is_event
    assert {row.error_kind for row in find_videos(platform.database)} == {
        VideoErrorKind.FORBIDDEN,
        VideoErrorKind.TRUNCATED,
    }


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
    assert closed_gates(platform.database) == []
    for row in find_videos(platform.database):
        if row.status is VideoStatus.UNAVAILABLE:
            assert row.retry_after is not None
            assert row.retry_after - utc_now() > timedelta(days=29)
            assert row.attempts == 1


def test_lone_refusals__in_a_row_are_found_to_be_their_own_when_the_site_serves_others(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    """Three forbidden videos in a row look like an event; later requests show that the site is serving others."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.whole_file(clip), 8)
    for number in (0, 1, 2):
        server.add(f"/{number:02d}.mp4", hostile.status(403))
    keys = listed(platform, urls)
    assert_one_event(platform, download_videos(platform, keys))
    let_time_pass(platform)
    outcomes = download_videos(platform, keys)
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.UNAVAILABLE] * 3 + [OutcomeStatus.DONE] * 5
    assert gate_state(platform.database, SITE).closed is None


def test_lone_refusals__of_neighbours_that_are_asked_for_together_are_no_event(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    """Downloads run concurrently, so bad neighbours fail together; the next request shows that the site works."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=4)
    urls = offer(server, hostile.whole_file(clip), 12)
    together = threading.Barrier(4)
    cut = hostile.cut_off(clip, 0.0)

    def answer(exchange: hostile.Exchange) -> None:
        together.wait(120)
        cut(exchange)

    for number in range(4):
        server.add(f"/{number:02d}.mp4", answer)
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.error_kind for outcome in outcomes[:4]] == [VideoErrorKind.CUT_OFF] * 4
    assert {outcome.status for outcome in outcomes[4:]} == {OutcomeStatus.DONE}
    assert closed_gates(platform.database) == []


def test_lone_refusals__tried_again_after_all_others_are_no_event(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    """Videos that were cut off are retried one after another at the end of a run, after the site has served others."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1, tries_per_run=2)
    urls = offer(server, hostile.whole_file(clip), 8)
    for number in (1, 3, 5, 6):
        server.add(f"/{number:02d}.mp4", hostile.cut_off(clip, 0.0))
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.error_kind is VideoErrorKind.CUT_OFF for outcome in outcomes] == [
        n in (1, 3, 5, 6) for n in range(8)
    ]
    assert server.count() == 8 + 4
    assert closed_gates(platform.database) == []


def test_known_refusals__looked_at_again_are_no_event(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    """A month later, all videos that are forbidden individually are requested again, one after another."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = offer(server, hostile.whole_file(clip), 10)
    for number in (0, 2, 4, 6, 8):
        server.add(f"/{number:02d}.mp4", hostile.status(403))
    keys = listed(platform, urls)
    download_videos(platform, keys)
    with platform.database.transaction() as session:
        for row in session.query(VideoRow).filter(VideoRow.retry_after.is_not(None)):
            row.retry_after = utc_now()
    again = download_videos(platform, keys[::2])
    assert {outcome.status for outcome in again} == {OutcomeStatus.UNAVAILABLE}
    assert closed_gates(platform.database) == []


@pytest.mark.parametrize("code", [500, 503])
def test_wave__of_server_errors_passes_within_minutes(
    tmp_path: Path, server: HostileServer, clip: bytes, code: int
) -> None:
    """A server that is down does not refuse anything: each video is soon retried, and no breaker opens."""
    platform = make_platform(tmp_path / "root", tries_per_run=2)
    keys = listed(platform, offer(server, hostile.status(code), 6))
    outcomes = download_videos(platform, keys)
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.TRANSIENT}
    assert server.count() == 6 * 2
    assert closed_gates(platform.database) == []
    for row in find_videos(platform.database):
        assert (row.status, row.attempts) == (VideoStatus.FAILED, 1)
        assert row.retry_after is not None
        assert timedelta(0) < row.retry_after - utc_now() <= timedelta(minutes=5)
    offer(server, hostile.whole_file(clip), 6)
    with platform.database.transaction() as session:
        for row in session.query(VideoRow):
            row.retry_after = utc_now() - timedelta(seconds=1)
    assert {outcome.status for outcome in download_videos(platform, keys)} == {OutcomeStatus.DONE}


@pytest.mark.parametrize("code", [404, 410])
def test_wave__of_removed_videos_is_their_own(tmp_path: Path, server: HostileServer, clip: bytes, code: int) -> None:
    platform = make_platform(tmp_path / "root", concurrent_downloads=1)
    urls = [*offer(server, hostile.status(code), 6), server.add("/there.mp4", hostile.whole_file(clip))]
    outcomes = download_videos(platform, listed(platform, urls))
    assert [outcome.error_kind for outcome in outcomes] == [VideoErrorKind.REMOVED] * 6 + [None]
    assert server.count() == 7
    assert closed_gates(platform.database) == []
    for row in find_videos(platform.database):
        if row.status is not VideoStatus.DOWNLOADED:
            assert (row.status, row.attempts) == (VideoStatus.UNAVAILABLE, 1)
            assert row.retry_after is not None
            assert row.retry_after - utc_now() > timedelta(days=29)
