"""Test `download_videos` with the real yt-dlp on a hostile server, and with real local files."""

import json
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.attempts import count_failures
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.videos import find_video, find_videos, retry_videos
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import OutageError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.downloading.partial_folders import partial_folders
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.storage.videos import read_video_info
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere, offer_page
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_audio, make_video


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "clip.mp4", num_frames=60, size_wh=(160, 120)).read_bytes()


def listed(platform: Platform, urls: list[str]) -> list[str]:
    """List URLs as sources of a project and return their video keys in the same order."""
    add_project(platform, [{"type": "urls", "urls": urls}])
    list_sources(platform, "p", force=True)
    by_url = {video.url: video.key for video in find_videos(platform.database)}
    return [by_url[url] for url in urls]


def row_of(platform: Platform, key: str) -> VideoRow:
    row = find_video(platform.database, key)
    assert row is not None
    return row


def one(platform: Platform, url: str) -> tuple[VideoOutcome, VideoRow]:
    key = listed(platform, [url])[0]
    outcome = download_videos(platform, [key])[0]
    return outcome, row_of(platform, key)


def test_download_videos__none(tmp_path: Path) -> None:
    assert download_videos(make_platform(tmp_path), []) == []


def test_download_videos__unknown_key(tmp_path: Path) -> None:
    assert download_videos(make_platform(tmp_path), ["youtube-x"])[0].status is OutcomeStatus.BLOCKED


def test_download_videos__from_a_server(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root")
    key = listed(platform, [server.add("/clip.mp4", hostile.whole_file(clip))])[0]
    reported: list[VideoOutcome] = []
    outcome = download_videos(platform, [key], report=reported.append)[0]
    assert outcome.status is OutcomeStatus.DONE, outcome
    assert reported == [outcome]
    assert outcome.metadata["size_bytes"] == len(clip)
    row, folder = row_of(platform, key), platform.layout.video_folder(key)
    assert row.status is VideoStatus.DOWNLOADED
    assert sorted(path.name for path in folder.iterdir()) == ["info.json", "video.mp4"]
    assert row.sha256 == sha256_of_file(folder / "video.mp4")
    assert (row.width, row.height, row.duration_seconds, row.attempts) == (160, 120, 6.0, 1)

    asked = server.count()
    again = download_videos(platform, [key])[0]
    assert again.status is OutcomeStatus.REUSED
    assert again.metadata == outcome.metadata
    assert server.count() == asked
    assert download_videos(platform, [key], force=True)[0].status is OutcomeStatus.DONE
    assert server.count() > asked


def test_download_videos__a_bug_of_ours_that_one_of_twenty_meets_is_that_one_s(
    tmp_path: Path, server: HostileServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.faulty_jobs")
    platform = make_platform(tmp_path / "root")
    names = ["victim", *(f"good{number}" for number in range(19))]
    keys = listed(platform, [server.add(f"/{name}.mp4", hostile.whole_file(clip)) for name in names])
    outcomes = download_videos(platform, keys)
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.FAILED, *[OutcomeStatus.DONE] * 19]
    assert outcomes[0].error_kind is VideoErrorKind.INTERNAL_ERROR
    assert re.fullmatch(
        r"ZeroDivisionError: planted \(sites/transport\.py:\d+\)", row_of(platform, keys[0]).error or ""
    )


def test_download_videos__without_a_network_no_video_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.offline_jobs")
    monkeypatch.setattr("data_miner_dagster.operations.downloading.network.has_default_route", lambda: True)
    platform = make_platform(tmp_path / "root")
    keys = listed(platform, [f"http://{site}.example/clip.mp4" for site in ("one", "two")])
    (outcome,) = download_videos(platform, keys[:1])  # the fault may be the site's
    assert outcome.error_kind is VideoErrorKind.TRANSIENT
    retry_videos(platform.database)
    with pytest.raises(OutageError, match=r"the network is not available \(one.example, two.example: ") as raised:
        download_videos(platform, keys)
    assert raised.value.kind == "network"
    assert [(row_of(platform, key).status, row_of(platform, key).attempts) for key in keys] == [
        (VideoStatus.PENDING, 0),
        (VideoStatus.PENDING, 0),
    ]
    assert count_failures(platform.database) == []


def test_download_videos__same_bytes_same_manifest(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", hostile.whole_file(clip))
    manifests = []
    for root in ("one", "two"):
        platform = make_platform(tmp_path / root)
        key = listed(platform, [url])[0]
        download_videos(platform, [key])
        manifests.append(platform.layout.video_info(key).read_bytes())
    assert manifests[0] == manifests[1]
    assert "clip" in json.loads(manifests[0])["title"]


def test_download_videos__local_files_good_and_bad(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    good = make_video(folder / "good.mp4", num_frames=60)
    make_audio(folder / "audio.mp4")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "page.mp4").write_text("<!DOCTYPE html><html></html>")
    (folder / "words.txt").write_text("no video")
    (folder / "gone.mp4").write_bytes(b"soon gone")
    make_video(folder / "edited.mp4", first_level=50)
    platform = make_platform(tmp_path / "root")
    add_project(platform, [{"type": "files", "paths": ["clips", "clips/words.txt"]}], config_file=tmp_path / "p.yaml")
    list_sources(platform, "p")
    (folder / "gone.mp4").unlink()
    make_video(folder / "edited.mp4", first_level=51)
    keys = {Path(video.url).name: video.key for video in find_videos(platform.database)}
    outcomes = dict(zip(sorted(keys), download_videos(platform, [keys[name] for name in sorted(keys)]), strict=True))
    assert {name: (outcome.status, outcome.error_kind) for name, outcome in outcomes.items()} == {
        "audio.mp4": (OutcomeStatus.FAILED, VideoErrorKind.NO_VIDEO_STREAM),
        "cut.mp4": (OutcomeStatus.FAILED, VideoErrorKind.TRUNCATED),
        "edited.mp4": (OutcomeStatus.FAILED, VideoErrorKind.MISSING_FILE),
        "empty.mp4": (OutcomeStatus.FAILED, VideoErrorKind.EMPTY_FILE),
        "gone.mp4": (OutcomeStatus.FAILED, VideoErrorKind.MISSING_FILE),
        "good.mp4": (OutcomeStatus.DONE, None),
        "page.mp4": (OutcomeStatus.FAILED, VideoErrorKind.NOT_A_VIDEO),
        "words.txt": (OutcomeStatus.FAILED, VideoErrorKind.NOT_A_VIDEO),
    }
    for name, key in keys.items():
        row = row_of(platform, key)
        if name == "good.mp4":
            assert (row.status, row.error, row.retry_after) == (VideoStatus.DOWNLOADED, None, None)
        else:
            assert (row.status, row.error_kind, row.retry_after) == (
                VideoStatus.FAILED,
                outcomes[name].error_kind,
                None,
            )
            assert row.error == outcomes[name].message != ""
            assert read_video_info(platform.layout, key) is None
    assert good.exists()  # the original is left alone
    # the video is never retried automatically: its outcome is reported again without any work
    assert download_videos(platform, [keys["audio.mp4"]])[0] == outcomes["audio.mp4"]
    assert row_of(platform, keys["audio.mp4"]).attempts == 1


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        (404, VideoErrorKind.REMOVED, VideoStatus.UNAVAILABLE),
        (403, VideoErrorKind.FORBIDDEN, VideoStatus.UNAVAILABLE),
        (451, VideoErrorKind.GEO_BLOCKED, VideoStatus.UNAVAILABLE),
        (500, VideoErrorKind.TRANSIENT, VideoStatus.FAILED),
    ],
)
def test_download_videos__http_errors(
    tmp_path: Path, server: HostileServer, code: int, kind: VideoErrorKind, status: VideoStatus
) -> None:
    platform = make_platform(tmp_path, tries_per_run=2)
    url = server.add("/clip.mp4", hostile.status(code))
    outcome, row = one(platform, url)
    assert (row.status, row.error_kind) == (status, kind)
    assert (outcome.error_kind, outcome.message) == (kind, row.error)
    assert row.retry_after is not None
    assert row.retry_after > utc_now()
    assert server.count() == (2 if kind.is_transient else 1)
    # its next attempt is not due yet, so nothing is requested
    asked = server.count()
    assert download_videos(platform, [row.key])[0] == outcome
    assert server.count() == asked


def test_download_videos__500_then_200(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    answer = hostile.in_turn(hostile.status(500), hostile.whole_file(clip))
    outcome, row = one(make_platform(tmp_path / "root"), server.add("/clip.mp4", answer))
    assert outcome.status is OutcomeStatus.DONE
    assert row.attempts == 1


def test_download_videos__due_again_after_its_date(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root")
    _, row = one(platform, server.add("/clip.mp4", hostile.status(404)))
    server.add("/clip.mp4", hostile.whole_file(clip))
    with platform.database.transaction() as session:
        session.get_one(VideoRow, row.key).retry_after = utc_now() - timedelta(seconds=1)
    assert download_videos(platform, [row.key])[0].status is OutcomeStatus.DONE
    row = row_of(platform, row.key)
    assert (row.status, row.error, row.error_kind, row.retry_after) == (VideoStatus.DOWNLOADED, None, None, None)


def test_download_videos__resume_downloads_no_byte_twice(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    url = server.add("/clip.mp4", hostile.cut_off(clip, 0.5))
    platform = make_platform(tmp_path / "root", tries_per_run=1)
    outcome, row = one(platform, url)
    assert outcome.error_kind is VideoErrorKind.CUT_OFF, outcome
    half = len(clip) // 2
    [part] = partial_folders(platform.layout.video_folder(row.key))[0].glob("*.part")
    assert part.read_bytes() == clip[:half]
    server.add("/clip.mp4", hostile.whole_file(clip))
    before = len(server.requests)
    assert download_videos(platform, [row.key], force=True)[0].status is OutcomeStatus.DONE
    resumed = [request for request in server.requests[before:] if request.range_start is not None]
    assert [(request.range_start, request.body_bytes_sent) for request in resumed] == [(half, len(clip) - half)]
    assert (platform.layout.video_folder(row.key) / "video.mp4").read_bytes() == clip
    assert sum(request.body_bytes_sent for request in server.requests) == len(clip)


def test_download_videos__one_bad_stops_no_other(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root")
    urls = [server.add(f"/{n}.mp4", hostile.status(404) if n == 1 else hostile.whole_file(clip)) for n in range(4)]
    keys = listed(platform, urls)
    outcomes = download_videos(platform, keys)
    assert [outcome.video_key for outcome in outcomes] == keys
    assert [outcome.status.value for outcome in outcomes] == ["done", "unavailable", "done", "done"]


def test_download_videos__loopback_is_refused_unless_allowed(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path, allowed_private_hosts=())
    _, row = one(platform, server.url("/clip.mp4"))
    assert (row.status, row.error_kind, row.retry_after) == (VideoStatus.FAILED, VideoErrorKind.POLICY, None)
    assert "allowed_private_hosts" in str(row.error)
    assert server.count() == 0


def test_download_videos__redirect_to_another_loopback_address(tmp_path: Path, server: HostileServer) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        url = server.add("/clip.mp4", hostile.redirect(other.url("/secret.mp4")))
        _, row = one(make_platform(tmp_path), url)
        assert row.error_kind is VideoErrorKind.POLICY
        assert other.count() == 0
    assert server.count() == 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x.mp4", "data:video/mp4;base64,AAAA"])
def test_download_videos__redirect_to_another_scheme(tmp_path: Path, server: HostileServer, location: str) -> None:
    url = server.add("/clip.mp4", hostile.redirect(location))
    _, row = one(make_platform(tmp_path, tries_per_run=1), url)
    assert row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
    assert not list(tmp_path.rglob("video.*"))


def test_download_videos__html_instead_of_video(tmp_path: Path, server: HostileServer) -> None:
    outcome, row = one(
        make_platform(tmp_path), server.add("/clip.mp4", hostile.page("<html><body>Hello</body></html>"))
    )
    assert row.status is VideoStatus.FAILED
    assert outcome.error_kind in (VideoErrorKind.UNSUPPORTED, VideoErrorKind.NOT_A_VIDEO)


def test_download_videos__html_that_claims_to_be_a_video(tmp_path: Path, server: HostileServer) -> None:
    answer = hostile.whole_file(b"<!DOCTYPE html><html><body>Sorry</body></html>", "video/mp4")
    _, row = one(make_platform(tmp_path), server.add("/clip.mp4", answer))
    assert (row.status, row.error_kind) == (VideoStatus.FAILED, VideoErrorKind.NOT_A_VIDEO)


def test_download_videos__slow_loris_ends_at_the_deadline(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path, max_wall_seconds=0.5, socket_timeout_seconds=5, tries_per_run=1)
    started = utc_now()
    outcome, _ = one(platform, server.add("/clip.mp4", hostile.slow_loris()))
    assert (utc_now() - started).total_seconds() < 60  # an upper bound: the server never ends the response
    assert outcome.error_kind is VideoErrorKind.TRANSIENT
    assert "max_wall_seconds" in outcome.message


def test_download_videos__endless_body_ends_at_the_byte_cap(tmp_path: Path, server: HostileServer) -> None:
    outcome, row = one(
        make_platform(tmp_path, max_size_bytes=1_000_000), server.add("/clip.mp4", hostile.endless_body())
    )
    assert outcome.error_kind is VideoErrorKind.TOO_LARGE
    assert row.retry_after is None
    assert sum(path.stat().st_size for path in (tmp_path / "videos").rglob("*") if path.is_file()) < 2_000_000


def test_download_videos__content_length_too_long_is_no_success(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", hostile.wrong_length(clip, len(clip) + 500))
    outcome, _ = one(make_platform(tmp_path, tries_per_run=1), url)
    assert outcome.error_kind is VideoErrorKind.CUT_OFF


def test_download_videos__content_length_too_short_is_found_by_the_proof(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    url = server.add("/clip.mp4", hostile.wrong_length(clip, len(clip) // 2))
    outcome, _ = one(make_platform(tmp_path), url)
    assert outcome.error_kind is VideoErrorKind.TRUNCATED


def test_download_videos__a_row_that_lags_behind_its_file_is_mended(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    platform = make_platform(tmp_path / "root")
    _, row = one(platform, server.add("/clip.mp4", hostile.whole_file(clip)))
    with platform.database.transaction() as session:  # as if killed after storing the file but before its row
        lagging = session.get_one(VideoRow, row.key)
        lagging.status, lagging.sha256, lagging.file_name = VideoStatus.DOWNLOADING, None, None
    asked = server.count()
    assert download_videos(platform, [row.key])[0].status is OutcomeStatus.REUSED
    mended = row_of(platform, row.key)
    assert (mended.status, mended.sha256, mended.file_name) == (VideoStatus.DOWNLOADED, row.sha256, "video.mp4")
    assert server.count() == asked


def test_download_videos__a_file_without_manifest_is_not_there(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    platform = make_platform(tmp_path / "root")
    _, row = one(platform, server.add("/clip.mp4", hostile.whole_file(clip)))
    platform.layout.video_info(row.key).unlink()
    assert download_videos(platform, [row.key])[0].status is OutcomeStatus.DONE


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ({"duration": 60.0}, VideoErrorKind.TRUNCATED, "the file lasts 6.0 s, but its site states 60.0 s"),
        ({"duration": 7200.0}, VideoErrorKind.TOO_LARGE, "max_duration_seconds"),
        ({"filesize": 10**12}, VideoErrorKind.TOO_LARGE, "max_size_bytes"),
        ({"live_status": "is_upcoming"}, VideoErrorKind.LIVE, "not started"),
        ({"duration": 6.4}, None, ""),
    ],
)
def test_download_videos__what_a_page_says_is_compared(
    tmp_path: Path,
    server: HostileServer,
    clip: bytes,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, object],
    kind: VideoErrorKind | None,
    message: str,
) -> None:
    """A video that may not be downloaded is refused before its first byte; one that is too short, after its last."""
    install_everywhere(monkeypatch)
    video = server.add("/v.mp4", hostile.whole_file(clip))
    url = offer_page(server, "a", title="a", url=video, ext="mp4", **said)
    platform = make_platform(
        tmp_path / "root", max_duration_seconds=600, allowed_private_hosts=("127.0.0.1", "localhost")
    )
    outcome, row = one(platform, url)
    assert (outcome.error_kind, row.error_kind) == (kind, kind), outcome
    assert message in outcome.message
    assert server.count("/v.mp4") == (kind in (None, VideoErrorKind.TRUNCATED))
    assert server.count("/tube/watch/a") == 1


def test_download_videos__an_interrupt_waits_for_no_other_worker(tmp_path: Path) -> None:
    """A cancelled run ends even if one of its threads is waiting for a video that another worker holds."""
    platform = make_platform(tmp_path, concurrent_downloads=2)
    add_project(platform, [{"type": "urls", "urls": ["https://example.org/clip.mp4"]}])
    add_video(platform.database, "file-aaa", "p", origin=Origin.LOCAL)

    def interrupt(_outcome: VideoOutcome) -> None:
        raise KeyboardInterrupt

    with platform.hold_video("file-aaa"):
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            download_videos(platform, ["file-aaa", "file-unknown"], report=interrupt)
        assert time.monotonic() - started < 60  # a thread that waits would wait for an hour
