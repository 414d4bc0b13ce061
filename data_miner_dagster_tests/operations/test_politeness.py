"""Breakers, pauses and limits per site, as the hostile server sees them."""

import threading
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.politeness import gate_state
from data_miner_dagster.catalog.schema import DownloadStartRow, SiteGateRow, VideoRow, utc_now
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.operations.listed_videos import listed
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform

pytestmark = pytest.mark.slow(15)


def reopen(platform: Platform) -> None:
    """End the breaker's wait, and that of the videos, by moving their retry times into the past."""
    past = utc_now() - timedelta(seconds=1)
    with platform.database.transaction() as session:
        for gate in session.query(SiteGateRow):
            gate.closed_until = past
        for row in session.query(VideoRow).filter(VideoRow.retry_after.is_not(None)):
            row.retry_after = past


@pytest.mark.parametrize("concurrency", [1, 4])
def test_breaker__no_request_after_it_opens_until_its_time(
    tmp_path: Path, server: HostileServer, clip: bytes, concurrency: int
) -> None:
    platform = make_platform(tmp_path / "root", concurrent_downloads=concurrency)
    answers = [hostile.whole_file(clip)] * 20
    answers[5] = hostile.status(429, Retry_After="120")
    keys = listed(platform, [server.add(f"/{n:02d}.mp4", answer) for n, answer in enumerate(answers)])
    outcomes = download_videos(platform, keys)

    opened_at = next(request.at for request in server.requests if request.path == "/05.mp4")
    late = [request for request in server.requests if request.at > opened_at and request.path != "/05.mp4"]
    # The thread that read the answer sends no more requests; each other thread may have had one under way.
    assert len(late) <= concurrency - 1
    assert all(request.at < opened_at + 2 for request in late)
    gate = gate_state(platform.database, "127.0.0.1").closed
    assert gate is not None
    assert 890 < (gate.until - utc_now()).total_seconds() <= 900  # the breaker's wait, longer than the Retry-After
    assert "429" in gate.reason

    rows = {row.key: row for row in find_videos(platform.database)}
    for key, outcome in zip(keys, outcomes, strict=True):
        row = rows[key]
        if outcome.status is OutcomeStatus.DONE:
            assert row.status is VideoStatus.DOWNLOADED
        else:  # every other video waits, with a reason and a retry time, and is not charged an attempt
            assert (row.status, row.error_kind) == (VideoStatus.FAILED, VideoErrorKind.RATE_LIMITED)
            assert row.retry_after == gate.until
            assert row.attempts == 0
            assert row.error
    assert rows[keys[19]].status is VideoStatus.FAILED

    asked = server.count()
    download_videos(platform, keys, force=True)  # `force` does not override a breaker
    assert server.count() == asked

    server.add("/05.mp4", hostile.whole_file(clip))
    reopen(platform)
    assert {outcome.status for outcome in download_videos(platform, keys)} == {OutcomeStatus.DONE, OutcomeStatus.REUSED}
    with platform.database.reading() as session:
        assert session.get_one(SiteGateRow, "127.0.0.1").num_trips == 0


def test_breaker__what_was_connected_before_it_opened_sends_nothing_after(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads have passed the breaker and are connected when one sends its request and receives a 429."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=4)
    # Every video answers 429, since any of them may be requested first.
    keys = listed(platform, [server.add(f"/{n}.mp4", hostile.status(429)) for n in range(8)])
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setenv("TMPDIR", str(meeting))
    monkeypatch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.meeting_jobs")

    def say_when_closed() -> None:
        deadline = time.monotonic() + 60
        while gate_state(platform.database, "127.0.0.1").closed is None and time.monotonic() < deadline:
            time.sleep(0.01)
        (meeting / "closed").touch()

    watcher = threading.Thread(target=say_when_closed)
    watcher.start()
    outcomes = download_videos(platform, keys)
    watcher.join()
    assert len(list(meeting.glob("*.connected"))) == 4
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.RATE_LIMITED}
    assert server.count() == 1


def test_breaker__a_longer_retry_after_counts(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path)
    keys = listed(platform, [server.add("/a.mp4", hostile.status(429, Retry_After="7200"))])
    download_videos(platform, keys)
    gate = gate_state(platform.database, "127.0.0.1").closed
    assert gate is not None
    assert 7190 < (gate.until - utc_now()).total_seconds() <= 7200


def test_breaker__a_bot_check_opens_it(tmp_path: Path, server: HostileServer) -> None:
    def answer(exchange: hostile.Exchange) -> None:
        exchange.send_response(403, "Sign in to confirm you are not a bot")
        exchange.end_headers()

    platform = make_platform(tmp_path)
    keys = listed(platform, [server.add("/a.mp4", answer), server.url("/b.mp4")])
    assert download_videos(platform, keys[:1])[0].error_kind is VideoErrorKind.BOT_CHECK
    assert gate_state(platform.database, "127.0.0.1").closed is not None
    asked = server.count()
    assert download_videos(platform, keys[1:])[0].error_kind is VideoErrorKind.RATE_LIMITED
    assert server.count() == asked


def test_breaker__opens_at_a_listing_too(
    tmp_path: Path, server: HostileServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site may refuse with a page whose HTTP status is not an error."""

    install_everywhere(monkeypatch)
    platform = make_platform(
        tmp_path / "root",
        concurrent_downloads=1,
        allowed_private_hosts=("127.0.0.1", "localhost"),
        breaker={"stops": "all"},
    )
    for name in "ab":
        server.add(f"/wary/{name}", hostile.page("<html></html>"))
    lists = [server.url(f"/wary/{name}", host="localhost") for name in "ab"]
    video = server.add("/v.mp4", hostile.whole_file(clip))
    add_project(platform, [{"type": "playlists", "urls": lists}, {"type": "urls", "urls": [video]}])
    assert list_sources(platform, "p").counts["failed_sources"] == 2
    gate = gate_state(platform.database, "127.0.0.1").closed
    assert gate is not None
    assert "not a bot" in gate.reason
    (member,) = find_members(platform.database, "p")
    assert download_videos(platform, [member.video_key])[0].error_kind is VideoErrorKind.RATE_LIMITED
    assert [request.path for request in server.requests] == ["/wary/a"]


def test_breaker__of_one_site_stops_that_site_alone(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "127.0.0.2"))
        urls = [
            server.add("/a.mp4", hostile.status(429, Retry_After="99999999")),
            server.add("/b.mp4", hostile.whole_file(clip)),
            other.add("/c.mp4", hostile.whole_file(clip)),
        ]
        keys = listed(platform, urls)
        download_videos(platform, keys[:1])
        outcomes = download_videos(platform, keys[1:])
        assert [outcome.status for outcome in outcomes] == [OutcomeStatus.FAILED, OutcomeStatus.DONE]
        assert server.count("/b.mp4") == 0
        row = find_video(platform.database, keys[1])
        assert row is not None
        assert row.retry_after is not None
        assert timedelta(hours=23) < row.retry_after - utc_now() <= timedelta(days=1)


def test_budget__the_rest_waits_with_a_date(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    politeness = {"min_sleep_seconds": 0, "max_sleep_seconds": 0, "hourly_budget": 3, "spare_private_hosts": False}
    platform = make_platform(tmp_path / "root", politeness=politeness)
    keys = listed(platform, [server.add(f"/{n}.mp4", hostile.whole_file(clip)) for n in range(5)])
    outcomes = download_videos(platform, keys)
    assert sum(outcome.status is OutcomeStatus.DONE for outcome in outcomes) == 3
    waiting = [outcome for outcome in outcomes if outcome.status is not OutcomeStatus.DONE]
    assert all("hourly budget of 3" in outcome.message for outcome in waiting)
    row = find_video(platform.database, waiting[0].video_key)
    assert row is not None
    assert row.retry_after is not None
    assert 3500 < (row.retry_after - utc_now()).total_seconds() <= 3600
    assert {request.path for request in server.requests} == {
        f"/{n}.mp4" for n in range(5) if keys[n] not in {outcome.video_key for outcome in waiting}
    }


def test_spacing__downloads_of_one_site_begin_apart(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(
        tmp_path / "root",
        politeness={"min_sleep_seconds": 0.3, "max_sleep_seconds": 0.4, "spare_private_hosts": False},
    )
    keys = listed(platform, [server.add(f"/{n}.mp4", hostile.whole_file(clip)) for n in range(4)])
    before = time.monotonic()
    download_videos(platform, keys)
    with platform.database.reading() as session:
        starts = sorted(row.started_at for row in session.query(DownloadStartRow))
    assert len(starts) == 4
    assert all((later - earlier).total_seconds() >= 0.3 for earlier, later in pairwise(starts))
    assert max(request.at for request in server.requests) - before >= 0.9  # the last request waited for three pauses


def test_spacing__of_one_site_holds_up_no_other(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    with hostile.hostile_server("127.0.0.2") as other, hostile.hostile_server("127.0.0.3") as earlier:
        platform = make_platform(
            tmp_path / "root",
            concurrent_downloads=1,
            allowed_private_hosts=("127.0.0.1", "127.0.0.2", "127.0.0.3"),
            politeness={"min_sleep_seconds": 4, "max_sleep_seconds": 4, "spare_private_hosts": False},
        )
        # The worker starts with the first download, so that the next two take only milliseconds of the 4 s.
        urls = [earlier.add("/first.mp4", hostile.whole_file(clip))]
        urls += [server.add(f"/{n}.mp4", hostile.whole_file(clip)) for n in range(2)]
        urls.append(other.add("/last.mp4", hostile.whole_file(clip)))
        outcomes = download_videos(platform, listed(platform, urls))
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.DONE}
        [last] = other.requests
    assert server.requests[0].at < last.at < server.requests[1].at
    with platform.database.reading() as session:
        starts = sorted(row.started_at for row in session.query(DownloadStartRow) if row.site == "127.0.0.1")
    assert (starts[1] - starts[0]).total_seconds() >= 4


def test_places__one_site_is_asked_for_so_many_at_once(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(
        tmp_path / "root",
        concurrent_downloads=4,
        politeness={"min_sleep_seconds": 0, "max_sleep_seconds": 0, "concurrent_per_site": 1},
    )
    at_work, most = [0], [0]
    lock = threading.Lock()

    def answer(exchange: hostile.Exchange) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.05)
        with lock:
            at_work[0] -= 1  # before the last byte is sent, so the client cannot have gone on yet
        hostile.whole_file(clip)(exchange)

    outcomes = download_videos(platform, listed(platform, [server.add(f"/{n}.mp4", answer) for n in range(4)]))
    assert {outcome.status for outcome in outcomes} == {OutcomeStatus.DONE}
    assert most == [1]


def test_head_room__nothing_begins_without_it(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path, min_free_bytes=10**18)
    outcome = download_videos(platform, listed(platform, [server.url("/a.mp4")]))[0]
    assert outcome.error_kind is VideoErrorKind.DISK_FULL
    assert "min_free_bytes" in outcome.message
    assert server.count() == 0


def test_user_agent__is_honest(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root")
    download_videos(platform, listed(platform, [server.add("/a.mp4", hostile.whole_file(clip))]))
    assert all(request.headers["User-Agent"].startswith("data-miner/") for request in server.requests)


@pytest.mark.parametrize(
    ("html", "headers", "is_left_alone"),
    [
        ("<meta name='robots' content='noai, noimageai'>", {}, True),
        ('<META content="NOINDEX" name="robots">', {}, True),
        ("<meta name=tdm-reservation content=1>", {}, True),
        ("", {"X_Robots_Tag": "noai"}, True),
        ("", {"X_Robots_Tag": "otherbot: noai"}, False),
        ("<meta name='robots' content='index, follow'>", {}, False),
        ("", {}, False),
    ],
)
def test_opt_outs__of_pages_without_an_extractor(
    tmp_path: Path, server: HostileServer, clip: bytes, html: str, headers: dict[str, str], is_left_alone: bool
) -> None:
    video = server.add("/v.mp4", hostile.whole_file(clip))
    content = f"<html><head>{html}</head><body><video src='{video}'></video></body></html>".encode()

    def answer(exchange: hostile.Exchange) -> None:
        exchange.start(200, len(content), "text/html", **headers)
        exchange.body(content)

    platform = make_platform(tmp_path / "root", tries_per_run=1)
    outcome = download_videos(platform, listed(platform, [server.add("/page.mp4", answer)]))[0]
    if is_left_alone:
        assert outcome.error_kind is VideoErrorKind.POLICY
        assert "opts out" in outcome.message
        assert server.count("/v.mp4") == 0
    else:
        assert outcome.status is OutcomeStatus.DONE
        assert server.count("/v.mp4") > 0


def test_500_urls_of_which_a_fifth_fail(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    failing = [hostile.status(404), hostile.status(403), hostile.page("<html></html>"), hostile.whole_file(b"no video")]
    urls = [
        server.add(f"/{n:03d}.mp4", failing[n // 5 % 4] if n % 5 == 0 else hostile.whole_file(clip + bytes([n % 256])))
        for n in range(500)
    ]
    platform = make_platform(tmp_path / "root", concurrent_downloads=8)
    keys = listed(platform, urls)
    outcomes = download_videos(platform, keys)
    counts = Counter(row.status.value for row in find_videos(platform.database))
    assert counts == {"DOWNLOADED": 400, "FAILED": 50, "UNAVAILABLE": 50}
    assert all(outcome.status is OutcomeStatus.DONE or outcome.message for outcome in outcomes)
    assert all(row.error and row.error_kind for row in find_videos(platform.database) if row.status != "DOWNLOADED")
