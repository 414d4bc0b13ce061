"""Test videos that come in fragments (HLS and DASH), with yt-dlp's own downloaders and without ffmpeg."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.downloading.partial_folders import partial_folders
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video

NUM_FRAGMENTS = 6
CUT = 3
"""The number of the fragment that fails at first."""

# An interrupted download leaves it to the garbage collector to close yt-dlp's files.
pytestmark = [
    pytest.mark.slow(20),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()  # here rather than during the next test


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(
        tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=60, size_wh=(320, 240), faststart=True
    ).read_bytes()


def in_fragments(clip: bytes) -> list[bytes]:
    """Cut a file into consecutive pieces."""
    step = len(clip) // NUM_FRAGMENTS + 1
    return [clip[start : start + step] for start in range(0, len(clip), step)]


def hls(urls: list[str]) -> str:
    lines = "".join(f"#EXTINF:1.0,\n{url}\n" for url in urls)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{lines}#EXT-X-ENDLIST\n"


def dash(urls: list[str]) -> str:
    segments = "".join(f'<SegmentURL media="{url}"/>' for url in urls)
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT6S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="v" '
        'bandwidth="100000" width="320" height="240" codecs="mp4v.20.9"><SegmentList duration="1">'
        f"{segments}</SegmentList></Representation></AdaptationSet></Period></MPD>"
    )


MANIFESTS = {"hls": (hls, "/v.m3u8", "application/vnd.apple.mpegurl"), "dash": (dash, "/v.mpd", "application/dash+xml")}


def offer(server: HostileServer, kind: str, urls: list[str]) -> str:
    """Serve a manifest of the fragments and return its address."""
    manifest, path, content_type = MANIFESTS[kind]
    return server.add(path, hostile.page(manifest(urls), content_type))


def offer_fragments(server: HostileServer, clip: bytes) -> list[str]:
    fragments = enumerate(in_fragments(clip))
    return [server.add(f"/{number}.frag", hostile.whole_file(content)) for number, content in fragments]


def download(platform: Platform, url: str) -> VideoOutcome:
    add_project(platform, [{"type": "urls", "urls": [url]}])
    list_sources(platform, "p")
    (member,) = find_members(platform.database, "p")
    return download_videos(platform, [member.video_key], force=True)[0]


def bytes_sent(server: HostileServer, path: str) -> int:
    return sum(request.body_bytes_sent for request in server.requests if request.path == path)


@pytest.mark.parametrize("kind", MANIFESTS)
def test_fragments__one_that_is_forbidden_is_asked_for_once(
    tmp_path: Path, server: HostileServer, clip: bytes, kind: str
) -> None:
    urls = offer_fragments(server, clip)
    server.add("/0.frag", hostile.status(403))
    outcome = download(make_platform(tmp_path / "root"), offer(server, kind, urls))
    assert outcome.error_kind is VideoErrorKind.FORBIDDEN, outcome
    assert [request.path for request in server.requests if request.path.endswith(".frag")] == ["/0.frag"]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_fragments__after_a_cut_none_is_downloaded_twice(
    tmp_path: Path, server: HostileServer, clip: bytes, kind: str
) -> None:
    platform = make_platform(tmp_path / "root", tries_per_run=1)
    url = offer(server, kind, offer_fragments(server, clip))
    fragments = in_fragments(clip)
    server.add(f"/{CUT}.frag", hostile.cut_off(fragments[CUT], 0.5))
    outcome = download(platform, url)
    assert outcome.error_kind is VideoErrorKind.CUT_OFF, outcome
    assert server.count(f"/{CUT + 1}.frag") == 0
    half_way = bytes_sent(server, f"/{CUT}.frag")
    assert 0 < half_way < len(fragments[CUT])

    server.add(f"/{CUT}.frag", hostile.whole_file(fragments[CUT]))
    outcome = download(platform, url)
    assert outcome.status is OutcomeStatus.DONE, outcome
    (path,) = platform.layout.videos.glob("*/video.*")
    assert path.read_bytes() == clip
    for number, content in enumerate(fragments):
        assert bytes_sent(server, f"/{number}.frag") == len(content), number
        assert server.count(f"/{number}.frag") == 1 or number == CUT


@pytest.mark.parametrize("kind", MANIFESTS)
def test_fragments__one_on_an_address_that_is_not_allowed_is_refused(
    tmp_path: Path, server: HostileServer, clip: bytes, kind: str
) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        urls = offer_fragments(server, clip)
        urls[CUT] = other.add("/inner.frag", hostile.whole_file(b"secret"))
        outcome = download(make_platform(tmp_path / "root"), offer(server, kind, urls))
        assert outcome.error_kind is VideoErrorKind.POLICY, outcome
        assert "127.0.0.2" in outcome.message
        assert other.count() == 0


def test_fragments__a_key_on_an_address_that_is_not_allowed_is_refused(
    tmp_path: Path, server: HostileServer, clip: bytes
) -> None:
    with hostile.hostile_server("127.0.0.2") as other:
        key = other.add("/key", hostile.whole_file(bytes(16)))
        manifest = hls(offer_fragments(server, clip)).replace(
            "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"\n#EXTINF', 1
        )
        url = server.add("/v.m3u8", hostile.page(manifest, MANIFESTS["hls"][2]))
        outcome = download(make_platform(tmp_path / "root"), url)
        assert outcome.error_kind is VideoErrorKind.POLICY, outcome
        assert other.count() == 0


@pytest.mark.parametrize("kind", MANIFESTS)
def test_fragments__together_they_may_not_exceed_the_byte_cap(
    tmp_path: Path, server: HostileServer, clip: bytes, kind: str
) -> None:
    platform = make_platform(tmp_path / "root", max_size_bytes=len(clip) // 2)
    outcome = download(platform, offer(server, kind, offer_fragments(server, clip)))
    assert outcome.error_kind is VideoErrorKind.TOO_LARGE, outcome
    assert server.count(f"/{NUM_FRAGMENTS - 1}.frag") == 0
    left = [path for folder in platform.layout.videos.iterdir() for path in partial_folders(folder)]
    assert left == []  # nobody will request the rest


def test_fragments__the_wall_time_is_of_all_together(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    """Each fragment is fast enough for a single read, but all fragments together would take a minute."""
    platform = make_platform(tmp_path / "root", max_wall_seconds=1, tries_per_run=1)
    url = offer(server, "hls", offer_fragments(server, clip))
    for number, content in enumerate(in_fragments(clip)):
        server.add(f"/{number}.frag", hostile.slow_body(content, 1.0))
    outcome = download(platform, url)
    assert outcome.error_kind is VideoErrorKind.TRANSIENT
    assert "max_wall_seconds" in outcome.message
    assert server.count(f"/{NUM_FRAGMENTS - 1}.frag") == 0


def test_fragments__ffmpeg_is_not_run_even_if_a_manifest_calls_for_it(
    tmp_path: Path, server: HostileServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, trace = tmp_path / "bin", tmp_path / "was_run"
    tools.mkdir()
    for name in ("ffmpeg", "ffprobe", "avconv", "avprobe"):
        (tools / name).write_text(f"#!/bin/sh\ntouch {trace}\necho ffmpeg version 7.0\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    manifest = hls(offer_fragments(server, clip)).replace("#EXTINF", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF', 1)
    url = server.add("/v.m3u8", hostile.page(manifest, MANIFESTS["hls"][2]))
    outcome = download(make_platform(tmp_path / "root"), url)
    assert outcome.error_kind is VideoErrorKind.UNSUPPORTED, outcome
    assert server.count("/0.frag") == 0
    assert not trace.exists()
