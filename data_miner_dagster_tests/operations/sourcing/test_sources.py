"""Each type of source, and rules that are decided once a video's page has been read."""

import os
import re
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import select

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.schema import SourceListingRow, VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.catalog.work_tables import PendingWorkRow
from data_miner_dagster.domain.errors import ConfigError, VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.downloading.imported_frames import imported_frame_paths
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere, offer_list, offer_page
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return make_platform(tmp_path / "root")


def feed(server: HostileServer, *names: str) -> str:
    items = "".join(
        f"<item><title>{name}</title><enclosure url='{server.url(f'/{name}.mp4')}'/></item>" for name in names
    )
    return f"<rss><channel><title>F</title>{items}</channel></rss>"


def titles(platform: Platform) -> list[str]:
    return sorted(str(video.title) for video in find_videos(platform.database, project="p"))


def errors(platform: Platform) -> dict[str, str | None]:
    with platform.database.reading() as session:
        return {row.query: row.error for row in session.scalars(select(SourceListingRow))}


def test_url_files__comments_blanks_duplicates(platform: Platform, server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        f"# mine\n\n{server.url('/a.mp4')}\n{server.url('/b.mp4')}  # good\n{server.url('/a.mp4')}\nftp://x/y.mp4\n"
    )
    (tmp_path / "empty.txt").write_text("# nothing\n")
    sources = [{"type": "url_files", "paths": ["*.txt", "gone.txt"]}, {"type": "url_files", "paths": ["empty.txt"]}]
    add_project(platform, sources, config_file=tmp_path / "p.yaml")
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["failed_sources"]) == (2, 3)
    assert [(member.source, member.rank) for member in find_members(platform.database, "p")] == [("url_files", 0)] * 2
    failed = {query: error for query, error in errors(platform).items() if error}
    assert failed.keys() == {"ftp://x/y.mp4", "gone.txt", "empty.txt"}
    # only the new line is listed
    with (tmp_path / "list.txt").open("a") as file:
        file.write(f"{server.url('/c.mp4')}\n")
    assert list_sources(platform, "p").counts["new"] == 1


def test_feeds__max_results_and_one_request(platform: Platform, server: HostileServer) -> None:
    url = server.add("/feed", hostile.page(feed(server, "a", "b", "c"), "text/xml"))
    add_project(platform, [{"type": "feeds", "urls": [url], "max_results": 2}])
    assert list_sources(platform, "p").counts["members"] == 2
    assert titles(platform) == ["a", "b"]


def test_channels__only_new_stops_at_known_ones(platform: Platform, server: HostileServer) -> None:
    names = [f"v{number:02d}" for number in range(30)]
    url = server.add("/feed", hostile.page(feed(server, *names), "text/xml"))
    add_project(platform, [{"type": "channels", "urls": [url], "only_new": True}])
    assert list_sources(platform, "p").counts["new"] == 30
    again = list_sources(platform, "p", force=True)
    assert (again.counts["listed"], again.counts["failed_sources"]) == (9, 0)  # the tenth known entry ends the listing
    server.add("/feed", hostile.page(feed(server, "n1", "n2", *names), "text/xml"))
    assert list_sources(platform, "p", force=True).counts["new"] == 2


@pytest.mark.usefixtures("server")
def test_search__query_files(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("- red cars\n- {query: blue cars, max_results: 5}\n")
    (tmp_path / "bad.yaml").write_text("- {words: x}\n")
    (tmp_path / "odd.yaml").write_text("- [red cars\n")
    files = ["good.yaml", "bad.yaml", "odd.yaml", "gone.yaml"]
    source = {"type": "search", "query_files": files, "queries": ["red cars"]}
    (tmp_path / "a.mp4").write_bytes(b"one")
    add_project(platform, [source, {"type": "files", "paths": ["a.mp4"]}], config_file=tmp_path / "p.yaml")
    with pytest.MonkeyPatch.context() as patch:  # tests have no network, so every name is unknown
        patch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.nameless_jobs")
        outcome = list_sources(platform, "p")
    assert outcome.counts["members"] == 1
    found = errors(platform)
    assert found.keys() == {"red cars", "blue cars", "bad.yaml", "odd.yaml", "gone.yaml", "a.mp4"}
    assert "neither a search text nor" in str(found["bad.yaml"])
    assert str(found["odd.yaml"]).startswith("the file is not valid YAML (")
    assert found["gone.yaml"] == "no file was found; correct the path"
    assert all(found[query] for query in ("red cars", "blue cars", "gone.yaml"))  # an error, not an empty list


def test_frames__a_folder_is_one_video(platform: Platform, tmp_path: Path) -> None:
    for name, level in (("frame_10.png", 90), ("frame_2.jpg", 50), ("frame_1.jpg", 10)):
        folder = tmp_path / "shots" / "day1"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((20, 30, 3), level, np.uint8))
    (tmp_path / "shots" / "notes").mkdir()
    add_project(platform, [{"type": "frames", "folders": ["shots"]}], config_file=tmp_path / "p.yaml")
    assert list_sources(platform, "p").counts["members"] == 1
    key = find_members(platform.database, "p")[0].video_key
    assert re.fullmatch(r"frames-day1\.[0-9a-f]{16}", key)
    outcome = download_videos(platform, [key])[0]
    assert outcome.status is OutcomeStatus.DONE
    assert download_videos(platform, [key])[0].status is OutcomeStatus.REUSED
    row = find_video(platform.database, key)
    assert row is not None
    assert (row.status, row.title, row.file_name) == (VideoStatus.DOWNLOADED, "day1", "")
    paths = imported_frame_paths(platform, key)
    assert paths is not None
    assert [path.name for path in paths] == ["frame_1.jpg", "frame_2.jpg", "frame_10.png"]
    assert imported_frame_paths(platform, "youtube-x") is None
    (tmp_path / "shots" / "day1" / "frame_2.jpg").unlink()
    with pytest.raises(VideoPermanentError, match="changed"):
        imported_frame_paths(platform, key)


def test_rules__missing_blocklist_is_one_line(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    add_project(
        platform,
        [{"type": "files", "paths": ["a.mp4"]}],
        config_file=tmp_path / "p.yaml",
        rules={"blocked_hashtags_file": "tags.txt"},
    )
    with pytest.raises(ConfigError, match=r"blocklist .*tags\.txt does not exist"):
        list_sources(platform, "p")
    (tmp_path / "tags.txt").write_text("#ads\n")
    assert list_sources(platform, "p").counts["members"] == 1


def page_of(server: HostileServer, video: str, title: str) -> str:
    return f"<html><head><title>{title}</title></head><body><video src='{server.url(video)}'></video></body></html>"


def test_rules__are_decided_when_the_page_has_been_read_and_before_a_byte_of_video(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    """A URL in the project file is not requested when it is listed; its page is read once, for rules and download."""
    clip = make_video(tmp_path / "clip.mp4").read_bytes()
    server.add("/v.mp4", hostile.whole_file(clip))
    url = server.add("/page.mp4", hostile.page(page_of(server, "/v.mp4", "My toy car")))
    sources = [{"type": "urls", "urls": [url]}]
    add_project(platform, sources, rules={"blocked_words": ["toy"]})
    list_sources(platform, "p")
    key = find_members(platform.database, "p")[0].video_key
    assert server.count() == 0
    outcome = download_videos(platform, [key])[0]
    assert outcome.status is OutcomeStatus.BLOCKED
    assert "no project wants this video: p: words" in outcome.message
    assert server.count("/v.mp4") == 0
    member, row = find_members(platform.database, "p")[0], find_video(platform.database, key)
    assert member.status is ProjectVideoStatus.REJECTED
    assert member.reason == "words: contains 'toy'"
    assert row is not None
    assert (row.status, row.attempts) == (VideoStatus.PENDING, 0)

    # another project wants the video; the first project's rejection stays
    add_project(platform, sources, name="q")
    list_sources(platform, "q")
    assert download_videos(platform, [key])[0].status is OutcomeStatus.DONE
    assert list_sources(platform, "p").counts["members"] == 0
    assert [member.status.value for member in find_members(platform.database, "q")] == ["PENDING"]


def test_rules__what_the_file_proves_counts_and_stays(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    clip = make_video(tmp_path / "clip.mp4", num_frames=20).read_bytes()  # 2 s
    url = server.add("/v.mp4", hostile.whole_file(clip))
    add_project(platform, [{"type": "urls", "urls": [url]}], rules={"min_duration_seconds": 5})
    list_sources(platform, "p")
    key = find_members(platform.database, "p")[0].video_key
    assert download_videos(platform, [key])[0].status is OutcomeStatus.DONE
    assert find_members(platform.database, "p")[0].status is ProjectVideoStatus.REJECTED
    assert list_sources(platform, "p", force=True).counts == {
        "listed": 1,
        "repeated": 0,
        "forgotten": 0,
        "new": 0,
        "members": 0,
        "rejected_duration": 1,
        "failed_sources": 0,
    }


def test_playlists__rules_decide_by_the_listing_and_a_video_is_extracted_once(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "localhost"))
    install_everywhere(monkeypatch)
    video = server.add("/v.mp4", hostile.whole_file(make_video(tmp_path / "clip.mp4").read_bytes()))
    good = {"title": "good", "view_count": 500, "duration": 2.0}
    shown = {
        "good": good,
        "unseen": {**good, "view_count": 3},
        "long": {**good, "duration": 3600.0},
        "live": {**good, "live_status": "is_live"},
        "bare": {},  # the list gives no metadata, but the page will
        "beyond": good,
    }
    url = offer_list(server, "all", shown)
    page = {**good, "url": video, "ext": "mp4", "uploader": "A Person", "license": "CC BY", "upload_date": "20240131"}
    offer_page(server, "good", **page)
    offer_page(server, "bare", **{**page, "view_count": 4})
    rules = {"min_views": 100, "max_duration_seconds": 60}
    add_project(platform, [{"type": "playlists", "urls": [url], "max_results": 5}], rules=rules)
    outcome = list_sources(platform, "p")
    assert server.count() == server.count("/tube/list/all") == 1
    assert outcome.counts["members"] == 2
    members = {member.video_key: member for member in find_members(platform.database, "p")}
    assert {(member.source, member.query) for member in members.values()} == {("playlists", url)}
    assert {key: (member.rank, str(member.reason).partition(":")[0]) for key, member in members.items()} == {
        "tube-good": (0, "None"),
        "tube-unseen": (1, "views"),
        "tube-long": (2, "duration"),
        "tube-live": (3, "live"),
        "tube-bare": (4, "None"),
    }
    statuses = [outcome.status for outcome in download_videos(platform, ["tube-good", "tube-bare"])]
    assert statuses == [OutcomeStatus.DONE, OutcomeStatus.BLOCKED]
    asked = {request.path for request in server.requests}
    assert asked == {"/tube/list/all", "/tube/watch/good", "/tube/watch/bare", "/v.mp4"}
    assert server.count() == len(asked)
    row = row_of(platform, "tube-good")
    assert (row.channel, row.licence, row.upload_date) == ("A Person", "CC BY", date(2024, 1, 31))


def test_duplicates__same_bytes_and_same_pictures_are_linked(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    def moving(path: Path, codec: str, shift: int) -> bytes:
        return make_video(path, num_frames=30, size_wh=(160, 96), codec=codec, pattern=shift).read_bytes()

    first = moving(tmp_path / "1.mp4", "mpeg4", 3)
    contents = {
        "/a.mp4": first,
        "/b.mp4": first,  # the same bytes
        "/c.mp4": moving(tmp_path / "2.mp4", "mpeg2video", 3),  # the same pictures in another codec
        "/d.mp4": moving(tmp_path / "3.mp4", "mpeg4", 11),  # other pictures
    }
    keys = {}
    for path, content in contents.items():
        server.add(path, hostile.whole_file(content))
        add_project(platform, [{"type": "urls", "urls": [server.url(path)]}], name=f"p{path[1]}")
        list_sources(platform, f"p{path[1]}")
        keys[path] = find_members(platform.database, f"p{path[1]}")[0].video_key
        assert download_videos(platform, [keys[path]])[0].status is OutcomeStatus.DONE
    links = {path: row_of(platform, key).duplicate_of for path, key in keys.items()}
    assert links == {"/a.mp4": None, "/b.mp4": keys["/a.mp4"], "/c.mp4": keys["/a.mp4"], "/d.mp4": None}


def test_skip_reuploads__is_rejected_once_downloaded_until_the_original_fails(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    def moving(name: str, codec: str, shift: int) -> bytes:
        return make_video(tmp_path / name, num_frames=30, size_wh=(160, 96), codec=codec, pattern=shift).read_bytes()

    server.add("/a.mp4", hostile.whole_file(moving("1.mp4", "mpeg4", 3)))
    server.add("/c.mp4", hostile.whole_file(moving("2.mp4", "mpeg2video", 3)))  # the same pictures
    server.add("/d.mp4", hostile.whole_file(moving("3.mp4", "mpeg4", 11)))
    urls = [server.url(path) for path in ("/a.mp4", "/c.mp4", "/d.mp4")]
    add_project(platform, [{"type": "urls", "urls": urls}], rules={"skip_reuploads": True})
    add_project(platform, [{"type": "urls", "urls": urls[1:]}], rules={"skip_reuploads": True}, name="q")
    list_sources(platform, "p")
    list_sources(platform, "q")
    by_url = {video.url: video.key for video in find_videos(platform.database, project="p")}
    first, same, other = (by_url[url] for url in urls)
    for key in (first, same, other):
        assert download_videos(platform, [key])[0].status is OutcomeStatus.DONE

    def reasons(project: str) -> dict[str, str | None]:
        return {member.video_key: member.reason for member in find_members(platform.database, project)}

    assert reasons("p") == {first: None, same: f"reupload: the same video as {first}", other: None}
    assert reasons("q") == {same: None, other: None}
    with platform.database.reading() as session:
        pending = {(row.project_name, row.video_key) for row in session.scalars(select(PendingWorkRow))}
    assert pending == {("p", first), ("p", other), ("q", same), ("q", other)}
    list_sources(platform, "p", force=True)
    assert reasons("p")[same] == f"reupload: the same video as {first}"
    with platform.database.transaction() as session:
        assert move_video(session, first, VideoStatus.EXTRACTING)
        assert move_video(session, first, VideoStatus.FAILED, error_kind=VideoErrorKind.UNDECODABLE, error="broken")
    list_sources(platform, "p")
    assert reasons("p")[same] is None


def row_of(platform: Platform, key: str) -> VideoRow:
    row = find_video(platform.database, key)
    assert row is not None
    return row


def test_channels__date_window_stops_the_listing(platform: Platform, server: HostileServer) -> None:
    days = [
        ("new", "Thu, 01 Feb 2024"),
        ("young", "Wed, 31 Jan 2024"),
        ("old", "Mon, 01 Jan 2024"),
        ("ancient", "Sun, 31 Dec 2023"),
        ("below", "Wed, 31 Jan 2024"),
    ]
    items = "".join(
        f"<item><guid>{name}</guid><pubDate>{day} 12:00:00 GMT</pubDate>"
        f"<enclosure url='{server.url(f'/{name}.mp4')}'/></item>"
        for name, day in days
    )
    url = server.add("/feed", hostile.page(f"<rss><channel>{items}</channel></rss>", "text/xml"))
    window = {"published_after": "2024-01-01", "published_before": "2024-02-01"}
    add_project(platform, [{"type": "channels", "urls": [url], **window}])
    assert list_sources(platform, "p").counts["members"] == 2
    found = {video.url: video.upload_date for video in find_videos(platform.database, project="p")}
    assert found == {  # no entry after "ancient" was read, and no address contains a guid
        server.url("/young.mp4"): date(2024, 1, 31),
        server.url("/old.mp4"): date(2024, 1, 1),
    }


def test_secrets__addresses_that_carry_them_in_plain_are_not_kept(
    platform: Platform, server: HostileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret is an error in a configuration, fails its own line in a file, and rejects its candidate in a listing."""
    caplog.set_level("DEBUG")
    with pytest.raises(ValueError, match="env:NAME"):
        add_project(platform, [{"type": "urls", "urls": [server.url("/a.mp4?token=5EC12E7x")]}])
    (tmp_path / "list.txt").write_text(f"{server.url('/b.mp4')}\n{server.url('/c.mp4?sig=5EC12E7x')}\n")
    feed_url = server.add(
        "/feed", hostile.page(feed(server, "d", "e").replace("e.mp4", "e.mp4?sig=5EC12E7x"), "text/xml")
    )
    sources = [{"type": "url_files", "paths": ["list.txt"]}, {"type": "feeds", "urls": [feed_url]}]
    add_project(platform, sources, config_file=tmp_path / "p.yaml")
    outcome = list_sources(platform, "p")
    assert outcome.counts == {
        "listed": 3,
        "repeated": 0,
        "forgotten": 0,
        "new": 3,
        "members": 2,
        "rejected_secret_address": 1,
        "failed_sources": 1,
    }
    assert any("{env:NAME}" in str(message) for message in outcome.metadata.values())
    rejected = [row for row in find_members(platform.database, "p") if row.status is ProjectVideoStatus.REJECTED]
    assert [row.reason for row in rejected] == ["secret_address: its address contains parameter 'sig'"]
    platform.database.dispose()
    kept = b"".join(path.read_bytes() for path in platform.root.rglob("*") if path.is_file())
    assert b"5EC12E7x" not in kept
    assert "5EC12E7x" not in caplog.text + repr(outcome)


def test_files__are_hashed_once(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    add_project(platform, [{"type": "files", "paths": ["*.mp4"]}], config_file=tmp_path / "p.yaml")
    assert list_sources(platform, "p").counts["new"] == 1
    read: list[Path] = []

    def reading(path: Path) -> str:
        read.append(path)
        return "0" * 64

    monkeypatch.setattr("data_miner_dagster.storage.file_hashes.sha256_of_file", reading)
    assert list_sources(platform, "p").counts["new"] == 0
    assert read == []
    os.utime(path, (2, 2))
    assert list_sources(platform, "p").counts["new"] == 1
    assert read == [path]
