"""Test that a site's refusal of all requests is one event, as seen by the hostile server."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_miner_dagster.catalog.politeness import gate_state
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster_tests.operations.downloading.waves import (
    NUM_VIDEOS,
    SITE,
    assert_one_event,
    half,
    let_time_pass,
    listed,
    most_requests,
    offer,
)
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere, offer_page
from data_miner_dagster_tests.sites.hostile_server import Answer, HostileServer
from data_miner_dagster_tests.support.local_projects import make_platform
from data_miner_dagster_tests.support.small_videos import make_video
from data_miner_dagster_tests.support.waiting import wait_until

pytestmark = pytest.mark.slow(25)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=5).read_bytes()


def half_of_unsaid_length(clip: bytes) -> Answer:
    """Return an answer of unknown length that ends halfway, so the client cannot tell whether it is complete."""

    def answer(exchange: hostile.Exchange) -> None:
        exchange.start(200, None)
        exchange.body(clip[: len(clip) // 2])

    return answer


def media_path(number: int) -> str:
    return f"/w{number:02d}.mp4"


def num_media_requests(server: HostileServer) -> int:
    return sum(request.path.startswith("/w") for request in server.requests)


def offer_media(server: HostileServer, how: str, answer: Answer) -> list[str]:
    """Serve videos as files, on an extractor's pages, or on pages with a video element; return their addresses."""
    urls = [server.add(media_path(number), answer) for number in range(NUM_VIDEOS)]
    match how:
        case "extractor":
            return [
                offer_page(server, f"v{number:02d}", title="x", url=url, ext="mp4") for number, url in enumerate(urls)
            ]
        case "element":
            element = "<html><title>A clip</title><video src='{}'></video></html>"
            return [
                server.add(f"/page/{number:02d}", hostile.page(element.format(url))) for number, url in enumerate(urls)
            ]
    return urls


@pytest.mark.parametrize(
    ("refusal", "how", "concurrency", "has_served"),
    [
        ("403", "file", 1, False),
        ("403", "file", 4, True),
        ("cut off", "file", 1, False),
        ("cut off", "file", 4, True),
        ("half of unsaid length", "file", 4, False),
        ("half a file", "extractor", 1, False),
        ("half a file", "extractor", 4, True),
        ("half a file", "element", 4, False),
        ("empty", "extractor", 4, True),
        ("empty", "element", 1, False),
    ],
)
def test_wave__is_one_event_and_heals(
    tmp_path: Path,
    server: HostileServer,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
    how: str,
    concurrency: int,
    has_served: bool,
) -> None:
    install_everywhere(monkeypatch)
    answers = {
        "403": hostile.status(403),
        "cut off": hostile.cut_off(clip, 0.5),
        "half of unsaid length": half_of_unsaid_length(clip),
        "half a file": half(clip),
        "empty": hostile.whole_file(b""),
    }
    site = "tube" if how == "extractor" else SITE
    platform = make_platform(
        tmp_path / "root", concurrent_downloads=concurrency, allowed_private_hosts=("127.0.0.1", "localhost")
    )
    waiting = listed(platform, offer_media(server, how, answers[refusal]))
    if has_served:
        for number in range(3):
            server.add(media_path(number), hostile.whole_file(clip))
        assert {outcome.status for outcome in download_videos(platform, waiting[:3])} == {OutcomeStatus.DONE}
        waiting = waiting[3:]
    asked = num_media_requests(server)
    reported = dict[str, VideoOutcome]()
    outcomes = download_videos(platform, waiting, report=lambda outcome: reported.update({outcome.video_key: outcome}))
    assert num_media_requests(server) - asked <= most_requests(concurrency)
    assert_one_event(platform, outcomes, site=site)
    assert reported == {outcome.video_key: outcome for outcome in outcomes}

    asked = server.count()
    download_videos(platform, waiting)  # nothing is requested before the site's next attempt is due
    assert server.count() == asked
    # the site still refuses, so there is one request and the waiting time doubles
    let_time_pass(platform, site)
    asked = num_media_requests(server)
    assert_one_event(platform, download_videos(platform, waiting), minutes=30, site=site)
    assert num_media_requests(server) == asked + 1

    let_time_pass(platform, site)  # the site has recovered
    for number in range(NUM_VIDEOS):
        server.add(media_path(number), hostile.whole_file(clip))
    assert {outcome.status for outcome in download_videos(platform, waiting)} == {OutcomeStatus.DONE}
    state = gate_state(platform.database, site)
    assert (state.closed, state.num_trips, state.is_event) == (None, 0, False)
    assert {row.attempts for row in find_videos(platform.database)} == {1}


def test_wave__in_the_worst_order_is_one_event_after_the_most_requests(tmp_path: Path, server: HostileServer) -> None:
    """One of four threads is refused twice before the others are refused once, and its third refusal comes last."""
    platform = make_platform(tmp_path / "root", concurrent_downloads=4)
    arrived: list[int] = []
    order = itertools.count(1)
    # for each request by order of arrival: how many must have arrived before it is answered
    awaited = {1: 4, **dict.fromkeys((2, 3, 4), 6), **dict.fromkeys((6, 7, 8, 9), 9)}

    def refuse(exchange: hostile.Exchange) -> None:
        number = next(order)
        arrived.append(number)
        wait_until(lambda: len(arrived) >= awaited.get(number, 0))
        hostile.status(403)(exchange)

    outcomes = download_videos(platform, listed(platform, offer(server, refuse)))
    assert len(arrived) == most_requests(4)
    assert_one_event(platform, outcomes)


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
    assert second.at - first.at >= 0.2  # after the last byte of the first response
    # a video that has not been refused yet is better evidence that the site is serving again
    assert first.path not in refused


def test_wave__of_one_site_leaves_others_alone(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "127.0.0.2"))
        urls = offer(server, hostile.status(403), 6) + offer(other, hostile.whole_file(clip), 6)
        outcomes = download_videos(platform, listed(platform, urls))
    assert_one_event(platform, outcomes[:6])
    assert {outcome.status for outcome in outcomes[6:]} == {OutcomeStatus.DONE}


def test_wave__that_may_be_over_lets_other_sites_go_on(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    """While the site is being tried with one video, no thread waits for the result."""
    with hostile.hostile_server("127.0.0.2") as other:
        platform = make_platform(
            tmp_path / "root", concurrent_downloads=2, allowed_private_hosts=("127.0.0.1", "127.0.0.2")
        )
        keys = listed(platform, offer(server, hostile.status(403), 6) + offer(other, hostile.whole_file(clip), 6))
        download_videos(platform, keys[:6])
        let_time_pass(platform)

        def once_others_are_served(exchange: hostile.Exchange) -> None:
            exchange.start(200, len(clip))
            exchange.body(clip[:-1])
            wait_until(lambda: other.count() == 6)
            exchange.body(clip[-1:])

        answers = itertools.chain([once_others_are_served], itertools.repeat(hostile.whole_file(clip)))
        # the first answer is for the video with which the site is tried
        offer(server, lambda exchange: next(answers)(exchange), 6)
        asked = len(server.requests)
        outcomes = download_videos(platform, keys)
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.DONE}
        first, second = server.requests[asked : asked + 2]
        assert all(first.at < second.at > request.at for request in other.requests)


@pytest.mark.parametrize("words", ["Requested format is not available", "No video formats found!"])
def test_wave__of_missing_formats(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """The pages offer only pictures, and yt-dlp itself reports that formats are missing."""

    install_everywhere(monkeypatch)
    platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "localhost"))
    content = "pictures" if "Requested" in words else "nothing"
    for number in range(NUM_VIDEOS):
        server.add(f"/changed/{number}", hostile.page(f"<html>{content}</html>"))
    keys = listed(platform, [server.url(f"/changed/{number}", host="localhost") for number in range(NUM_VIDEOS)])
    outcomes = download_videos(platform, keys)
    assert server.count() <= most_requests(platform.config.downloading.concurrent_downloads)
    assert {outcome.error_kind for outcome in outcomes} == {VideoErrorKind.SITE_REFUSAL}
    gate = gate_state(platform.database, "changed").closed
    assert gate is not None
    assert words in gate.reason
    assert "(no_formats)" in gate.reason


def test_wave__is_counted_across_processes(tmp_path: Path, server: HostileServer) -> None:
    root = tmp_path / "root"
    platform = make_platform(root, concurrent_downloads=1)
    keys = listed(platform, offer(server, hostile.status(403), 12))
    assert [outcome.status for outcome in download_videos(platform, keys[:2])] == [OutcomeStatus.UNAVAILABLE] * 2
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "data_miner_dagster_tests.operations.downloading.download_worker", str(root)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert server.count() <= 2 + 4  # all requests of the worker's four threads follow a refusal
    rows = find_videos(platform.database)
    assert {(row.status, row.error_kind) for row in rows} == {(VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL)}
    assert {row.attempts for row in rows} == {0}


def test_wave__of_two_processes_at_once_is_one_event_and_heals_by_one_probe(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    root = tmp_path / "root"
    platform = make_platform(root)
    num_videos = 2 * NUM_VIDEOS
    listed(platform, offer(server, hostile.status(403), num_videos))

    def two_workers() -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "data_miner_dagster_tests.operations.downloading.download_worker", str(root)]
        workers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [worker.wait() for worker in workers] == [0, 0]

    two_workers()
    assert server.count() <= most_requests(2 * 4)
    rows = find_videos(platform.database)
    assert {(row.status, row.error_kind) for row in rows} == {(VideoStatus.FAILED, VideoErrorKind.SITE_REFUSAL)}
    assert {row.attempts for row in rows} == {0}

    let_time_pass(platform)
    offer(server, hostile.slow_body(clip, 0.05, pieces=5), num_videos)
    asked = server.count()
    two_workers()
    assert {row.status for row in find_videos(platform.database)} == {VideoStatus.DOWNLOADED}
    first, second = server.requests[asked : asked + 2]
    assert second.at - first.at >= 0.2  # after the last byte of the first response
    assert server.count() == asked + num_videos
