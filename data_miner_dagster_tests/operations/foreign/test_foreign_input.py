"""Compare what a site may say with what a user may write, listed and downloaded on real servers."""

import html
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites.hostile_server import HostileServer, hostile_server, page, whole_file
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video

pytestmark = pytest.mark.slow(20)

SECRET = "hf_SUPERSECRET1234"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HostileServer]:
    with hostile_server() as running:
        video = make_video(tmp_path / "served.mp4").read_bytes()
        for path in ("/good.mp4", "/c.mp4", "/v1.mp4", f"/{SECRET}/v2.mp4", "/%7Benv:DM_TEST_SECRET%7D/v2.mp4"):
            running.add(path, whole_file(video))
        yield running


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("DM_TEST_SECRET", SECRET)
    return make_platform(tmp_path / "root", tries_per_run=1)


def feed(server: HostileServer, *links: str) -> str:
    items = "".join(
        f"<item><title>v{number}</title><link>{html.escape(link)}</link></item>"
        for number, link in enumerate((server.url("/good.mp4"), *links))
    )
    return server.add("/feed", page(f"<rss version='2.0'><channel><title>f</title>{items}</channel></rss>", "text/xml"))


def reasons(platform: Platform) -> list[str]:
    """Return the reasons of the members that were refused; the others may be downloaded."""
    return [member.reason or "" for member in find_members(platform.database, "p") if member.reason]


def test_list_sources__a_feed_reads_no_variable(platform: Platform, server: HostileServer) -> None:
    links = (server.url("/v1.mp4?k={env:DM_TEST_SECRET}"), server.url("/{env:DM_TEST_SECRET}/v2.mp4"))
    add_project(platform, [{"type": "feeds", "urls": [feed(server, *links)]}])
    assert list_sources(platform, "p").counts["members"] == 3
    rows = find_videos(platform.database)
    assert {row.origin for row in rows} == {Origin.FOREIGN}
    outcomes = download_videos(platform, [row.key for row in rows])
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.DONE] * 3
    asked = {request.path for request in server.requests}
    assert {"/v1.mp4?k=%7Benv:DM_TEST_SECRET%7D", "/%7Benv:DM_TEST_SECRET%7D/v2.mp4"} <= asked
    assert not any(SECRET in path for path in asked)


def test_list_sources__a_user_reads_variables(platform: Platform, server: HostileServer) -> None:
    own = server.url("/{env:DM_TEST_SECRET}/v2.mp4")
    add_project(platform, [{"type": "urls", "urls": [own]}])
    list_sources(platform, "p")
    (row,) = find_videos(platform.database)
    assert (row.url, row.origin) == (own, Origin.OWN)
    assert [outcome.status for outcome in download_videos(platform, [row.key])] == [OutcomeStatus.DONE]
    assert [request.path for request in server.requests] == [f"/{SECRET}/v2.mp4"]


def test_list_sources__an_address_known_by_a_feed_becomes_the_users_own(
    platform: Platform, server: HostileServer
) -> None:
    add_project(platform, [{"type": "feeds", "urls": [feed(server)]}])
    list_sources(platform, "p")
    own = server.url("/good.mp4").replace("//", "//me:{env:DM_TEST_SECRET}@")
    add_project(platform, [{"type": "urls", "urls": [own]}], name="q")
    list_sources(platform, "q")
    (row,) = find_videos(platform.database)
    assert (row.url, row.origin) == (own, Origin.OWN)
    list_sources(platform, "p", force=True)
    assert [video.origin for video in find_videos(platform.database)] == [Origin.OWN]


def test_list_sources__entries_that_are_no_addresses_of_the_web_are_refused_by_themselves(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    private = make_video(tmp_path / "private.mp4")
    links = (
        str(private),
        f"file://{private}",
        "~/private.mp4",
        "../private.mp4",
        "javascript:alert(1)",
        "http://127.0.0.1:999999/v.mp4",
        "http://127.0.0.1:12a/v.mp4",
        "http://[::1/v.mp4",
        "http:///v.mp4",
        server.url("/" + "a" * 3000 + ".mp4"),
    )
    add_project(platform, [{"type": "feeds", "urls": [feed(server, *links)]}])
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["rejected_refused_address"]) == (1, 10)
    assert all(reason.startswith("refused_address: listed as ") for reason in reasons(platform))
    assert any(
        f"listed as {str(private)[:80]!r}: the address is neither http nor https" in said for said in reasons(platform)
    )
    # a user who requests them anyway gets no file from this machine
    keys = [member.video_key for member in find_members(platform.database, "p")]
    outcomes = download_videos(platform, keys)
    assert sorted(outcome.status for outcome in outcomes) == [OutcomeStatus.DONE] + [OutcomeStatus.FAILED] * 10
    assert len(list((tmp_path / "root").rglob("video.mp4"))) == 1
    list_sources(platform, "p", force=True)
    assert len(find_members(platform.database, "p")) == 11


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"name": "x\ud800y"}, "x\ufffdy"),
        ({"name": "x\x00y"}, "xy"),
        ({"name": "x\x1b]0;pwned\x1b\\ \x1b[31mRED\u202e"}, "x]0;pwned\\ [31mRED"),
        ({"width": 10**30, "height": 10**30}, "n"),
        ({"width": float("inf"), "height": float("inf")}, "n"),
        ({"duration": "P99999999999999999999999D"}, "n"),
        ({"keywords": {"a": "\ud800"}}, "n"),
        ({"thumbnailUrl": "/etc/passwd"}, "n"),
    ],
)
def test_list_sources__what_a_page_says_fits_its_columns(
    platform: Platform, server: HostileServer, said: dict[str, object], expected: str
) -> None:
    video = {"@context": "https://schema.org", "@type": "VideoObject", "name": "n", "contentUrl": server.url("/c.mp4")}
    data = json.dumps(video | {"uploadDate": "2020-01-01"} | said).replace("Infinity", "1e999")
    address = server.add("/page", page(f"<html><script type='application/ld+json'>{data}</script></html>"))
    add_project(platform, [{"type": "urls", "urls": [address]}])
    assert list_sources(platform, "p").counts["members"] == 1
    (row,) = find_videos(platform.database)
    assert [outcome.status for outcome in download_videos(platform, [row.key])] == [OutcomeStatus.DONE]
    (row,) = find_videos(platform.database)
    assert (row.title, row.duration_seconds, row.width, row.height) == (expected, 2.0, 64, 48)


def test_list_sources__a_page_that_breaks_its_extractor_fails_alone(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    data = {"@context": "https://schema.org", "@type": "VideoObject", "name": {"a": 1}, "contentUrl": "http://x/c.mp4"}
    broken = f"<html><script type='application/ld+json'>{json.dumps(data)}</script></html>"
    address = server.add("/page", page(broken))
    sources = [{"type": "urls", "urls": [address]}, {"type": "files", "paths": ["a.mp4"]}]
    add_project(platform, sources, config_file=tmp_path / "p.yaml")
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["failed_sources"]) == (1, 1)


def test_list_sources__a_manifest_of_an_impossible_size(platform: Platform, server: HostileServer) -> None:
    manifest = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=1x9{'9' * 22}\n{server.url('/x.m3u8')}\n"
    address = server.add("/live", page(manifest, "application/vnd.apple.mpegurl"))
    add_project(platform, [{"type": "urls", "urls": [address]}])
    assert list_sources(platform, "p").counts["members"] == 1
    assert [row.height for row in find_videos(platform.database)] == [None]


@pytest.mark.parametrize("name", ["Part #1 of 2?.mp4", "50%25 [x] {env:HOME}.mp4"])
def test_list_sources__a_file_is_local_whatever_its_name(platform: Platform, tmp_path: Path, name: str) -> None:
    make_video(tmp_path / "clips.mp4").rename(tmp_path / name)
    add_project(platform, [{"type": "files", "paths": [name]}], config_file=tmp_path / "p.yaml")
    list_sources(platform, "p")
    (row,) = find_videos(platform.database)
    assert (row.url, row.origin) == (str(tmp_path / name), Origin.LOCAL)
    assert [outcome.status for outcome in download_videos(platform, [row.key])] == [OutcomeStatus.DONE]
    assert [member.status for member in find_members(platform.database, "p")] == [ProjectVideoStatus.PENDING]
