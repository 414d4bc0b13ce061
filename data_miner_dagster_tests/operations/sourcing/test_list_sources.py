"""Test `list_sources` with real folders and a real server."""

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.members import add_candidates, find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import SourceListingRow
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import OutcomeStatus, Rejection, VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.rules import ProjectRules
from data_miner_dagster_tests.sites.hostile_server import Answer, Exchange, HostileServer, hostile_server, page
from data_miner_dagster_tests.support.local_projects import add_project, make_platform


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return make_platform(tmp_path / "root")


def listings(platform: Platform) -> dict[str, SourceListingRow]:
    with platform.database.transaction() as session:
        return {row.query: row for row in session.scalars(select(SourceListingRow))}


def test_list_sources__unknown_project(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="project 'p' does not exist"):
        list_sources(platform, "p")


def test_list_sources__nothing_found_anywhere_is_one_clear_line(platform: Platform, tmp_path: Path) -> None:
    add_project(platform, [{"type": "files", "paths": ["none", "*.mp4"]}], config_file=tmp_path / "p.yaml")
    with pytest.raises(ConfigError, match=r"no source of project .* could be listed") as error:
        list_sources(platform, "p")
    assert "\n" not in str(error.value)
    assert all(row.error and row.num_found is None for row in listings(platform).values())


def test_list_sources__a_folder_without_videos_is_named_once(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    add_project(platform, [{"type": "files", "paths": ["clips"]}], config_file=tmp_path / "p.yaml")
    with pytest.raises(ConfigError, match=r"listed: clips \(.*/clips\): no video was found there"):
        list_sources(platform, "p")


def test_list_sources__files_relative_to_the_project_file(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "b.mp4").write_bytes(b"two")
    (folder / "a.mp4").write_bytes(b"one")
    (folder / "copy of a.mp4").write_bytes(b"one")
    add_project(platform, [{"type": "files", "paths": ["clips"]}], config_file=tmp_path / "p.yaml")
    outcome = list_sources(platform, "p")
    assert outcome.status is OutcomeStatus.DONE
    assert dict(outcome.counts) == {
        "listed": 3,
        "repeated": 1,
        "forgotten": 0,
        "new": 2,
        "members": 2,
        "failed_sources": 0,
    }
    members = find_members(platform.database, "p")
    # SHA-256 of "one" and "two", computed with sha256sum
    assert [member.video_key for member in members] == [
        "file-a.7692c3ad3540bb80",
        "file-b.3fc4ccfe745870e2",
    ]
    assert find_video(platform.database, members[0].video_key).url == str(folder / "a.mp4")  # type: ignore[union-attr]


def test_list_sources__again_changes_nothing_and_a_new_file_is_found(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    add_project(platform, [{"type": "files", "paths": ["*.mp4"]}], config_file=tmp_path / "p.yaml")
    first = list_sources(platform, "p")
    again = list_sources(platform, "p")
    assert again.status is OutcomeStatus.REUSED
    assert again.fingerprint == first.fingerprint
    (tmp_path / "b.mp4").write_bytes(b"two")
    assert list_sources(platform, "p").counts["new"] == 1


def test_list_sources__one_source_fails_alone(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    add_project(
        platform,
        [{"type": "files", "paths": ["gone", "a.mp4"]}, {"type": "urls", "urls": ["ftp://host/x.mp4"]}],
        config_file=tmp_path / "p.yaml",
    )
    outcome = list_sources(platform, "p")
    assert outcome.counts["members"] == 1
    assert outcome.counts["failed_sources"] == 2
    rows = listings(platform)
    assert (
        rows["gone"].error == f"the path ({tmp_path / 'gone'}) does not exist; correct it"
    )  # the key of the row gives the name
    assert rows["ftp://host/x.mp4"].error == "the address must be http or https, not 'ftp'; correct it"
    assert outcome.metadata["failed: gone"] == rows["gone"].error
    assert (rows["a.mp4"].num_found, rows["a.mp4"].error) == (1, None)


def test_list_sources__what_a_fault_meets_is_that_source_s_or_candidate_s(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_bytes(bytes([number]))
    (tmp_path / "list.txt").write_text("http://127.0.0.1:9/a.mp4\n")
    sources = [{"type": "files", "paths": ["*.mp4"]}, {"type": "url_files", "paths": ["list.txt"]}]
    add_project(platform, sources, config_file=tmp_path / "p.yaml")

    def judge(rules: ProjectRules, candidate: VideoCandidate, *, is_complete: bool) -> Rejection | None:
        if candidate.title == "2":
            raise ZeroDivisionError("planted")
        return rejection_of(rules, candidate, is_complete=is_complete)

    def read(_path: Path, **_limits: int) -> str:
        raise ZeroDivisionError("planted")

    rejection_of = ProjectRules.rejection_of
    with monkeypatch.context() as patched:
        patched.setattr(ProjectRules, "rejection_of", judge)
        patched.setattr("data_miner_dagster.operations.sourcing.queries.read_text_file", read)
        counts = list_sources(platform, "p").counts
    assert (counts["members"], counts["rejected_internal_error"], counts["failed_sources"]) == (3, 1, 2)
    rows = listings(platform)
    assert re.fullmatch(r"ZeroDivisionError: planted \(.*\)", str(rows["sourcing.sources.1"].error))
    assert re.match(
        r"1 of 4 entries failed with an internal error: ZeroDivisionError: planted \(", str(rows["*.mp4"].error)
    )

    counts = list_sources(platform, "p").counts
    assert (counts["members"], counts["failed_sources"]) == (5, 0)
    assert "rejected_internal_error" not in counts


def test_list_sources__a_bug_of_ours_that_one_of_twenty_listings_meets_is_that_one_s(
    platform: Platform, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SiteWorkers, "jobs_module", "data_miner_dagster_tests.sites.faulty_jobs")
    names = ["victim", *(f"good{number}" for number in range(19))]
    urls = [
        server.add(
            f"/{name}",
            page(f"<rss><channel><item><enclosure url='http://x.test/{name}.mp4'/></item></channel></rss>", "text/xml"),
        )
        for name in names
    ]
    add_project(platform, [{"type": "feeds", "urls": urls}])
    counts = list_sources(platform, "p").counts
    assert (counts["members"], counts["failed_sources"]) == (19, 1)
    assert re.fullmatch(
        r"ZeroDivisionError: planted \(sites/transport\.py:\d+\)", str(listings(platform)[urls[0]].error)
    )


def test_list_sources__direct_urls_and_known_sites_cost_no_request(platform: Platform, server: HostileServer) -> None:
    urls = [server.url("/a/clip.mp4"), server.url("/b/clip.mp4"), "https://www.youtube.com/watch?v=dQw4w9WgXcQ"]
    add_project(platform, [{"type": "urls", "urls": [*urls, urls[0] + "#again"]}])
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["repeated"]) == (3, 1)
    keys = [member.video_key for member in find_members(platform.database, "p")]
    assert keys[0].startswith("generic-clip.")
    assert keys[2] == "youtube-dQw4w9WgXcQ"
    assert server.count() == 0


def test_list_sources__rss_feed_is_listed_flat(platform: Platform, server: HostileServer) -> None:
    items = "".join(
        f"<item><title>Clip {n}</title><enclosure url='{server.url(f'/{n}.mp4')}' type='video/mp4'/></item>"
        for n in range(3)
    )
    feed = server.add("/feed", page(f"<rss version='2.0'><channel><title>F</title>{items}</channel></rss>", "text/xml"))
    add_project(platform, [{"type": "urls", "urls": [feed]}])
    assert list_sources(platform, "p").counts["members"] == 3
    assert server.count() == server.count("/feed")
    assert {video.title for video in find_videos(platform.database)} == {"Clip 0", "Clip 1", "Clip 2"}
    asked = server.count()
    assert list_sources(platform, "p").status is OutcomeStatus.REUSED
    assert server.count() == asked  # listed without errors with this configuration, so not listed again
    list_sources(platform, "p", force=True)
    assert server.count() > asked


def test_list_sources__listing_error_is_no_empty_list_and_is_tried_again(
    platform: Platform, server: HostileServer, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    add_project(
        platform,
        [{"type": "files", "paths": ["a.mp4"]}, {"type": "urls", "urls": [server.url("/feed")]}],
        config_file=tmp_path / "p.yaml",
    )
    assert list_sources(platform, "p").counts["failed_sources"] == 1
    assert "404" in str(listings(platform)[server.url("/feed")].error)
    item = f"<item><title>C</title><enclosure url='{server.url('/c.mp4')}'/></item>"
    server.add("/feed", page(f"<rss><channel><title>F</title>{item}</channel></rss>", "text/xml"))
    assert list_sources(platform, "p").counts["members"] == 2


def test_list_sources__max_videos_keeps_members_and_records_the_rest(platform: Platform, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    add_project(platform, [{"type": "files", "paths": ["*.mp4"]}], config_file=tmp_path / "p.yaml", max_videos=2)
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["rejected_max_videos"]) == (2, 1)
    (tmp_path / "Z-first.mp4").write_bytes(b"sorts first")
    before = {member.video_key for member in find_members(platform.database, "p") if member.status != "REJECTED"}
    list_sources(platform, "p")
    members = find_members(platform.database, "p")
    assert {member.video_key for member in members if member.status is not ProjectVideoStatus.REJECTED} == before
    assert sum(member.status is ProjectVideoStatus.REJECTED for member in members) == 2


def feed_of(server: HostileServer, name: str) -> str:
    item = f"<item><title>{name}</title><enclosure url='{server.url(f'/{name}.mp4')}'/></item>"
    return f"<rss><channel><title>F</title>{item}</channel></rss>"


def test_list_sources__of_different_sites_at_once(tmp_path: Path, server: HostileServer) -> None:
    """Neither feed is answered before both have been requested."""
    platform = make_platform(tmp_path / "root", allowed_private_hosts=("127.0.0.1", "127.0.0.2"))
    both = threading.Barrier(2)

    def when_both_are_asked(html: str) -> Answer:
        def answer(exchange: Exchange) -> None:
            both.wait(60)
            page(html, "text/xml")(exchange)

        return answer

    with hostile_server("127.0.0.2") as other:
        urls = [host.add("/feed", when_both_are_asked(feed_of(host, "a"))) for host in (server, other)]
        add_project(platform, [{"type": "feeds", "urls": urls}])
        assert list_sources(platform, "p").counts["members"] == 2


def test_list_sources__of_one_site_apart(tmp_path: Path, server: HostileServer) -> None:
    sleeps = {"min_sleep_seconds": 0.2, "max_sleep_seconds": 0.2, "spare_private_hosts": False}
    platform = make_platform(tmp_path / "root", politeness=sleeps)
    urls = [server.add(f"/feed{n}", page(feed_of(server, f"v{n}"), "text/xml")) for n in range(3)]
    add_project(platform, [{"type": "feeds", "urls": urls}])
    before = time.monotonic()
    assert list_sources(platform, "p").counts["members"] == 3
    assert max(request.at for request in server.requests) - before >= 0.4  # the last request waited for two pauses


def rss(server: HostileServer, count: int) -> str:
    items = "".join(f"<item><link>{server.url(f'/{number}.mp4')}</link></item>" for number in range(count))
    return server.add("/feed", page(f"<rss><channel><title>F</title>{items}</channel></rss>", "text/xml"))


def test_list_sources__many_entries_are_recorded_in_portions_and_after_a_kill_the_rest(
    platform: Platform, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.sourcing.list_sources._A_PORTION", 2)
    add_project(platform, [{"type": "feeds", "urls": [rss(server, 5)]}])
    sizes: list[int] = []

    def killed_in_the_second(session: Session, project: str, decided: list[Any]) -> list[bool]:
        sizes.append(len(decided))
        if len(sizes) == 2:
            raise SystemExit
        return add_candidates(session, project, decided)

    monkeypatch.setattr("data_miner_dagster.operations.sourcing.list_sources.add_candidates", killed_in_the_second)
    with pytest.raises(SystemExit):
        list_sources(platform, "p")
    assert len(find_members(platform.database, "p")) == 2
    project = find_project(platform.database, "p")
    assert project is not None
    assert project.sourced_config_hash is None  # so the next run lists it again
    assert listings(platform) == {}

    outcome = list_sources(platform, "p")
    assert (outcome.counts["new"], outcome.counts["members"]) == (3, 5)
    assert sizes == [2, 2, 2, 2, 1]
    assert [member.rank for member in find_members(platform.database, "p")] == [0, 1, 2, 3, 4]
    (listing,) = listings(platform).values()
    assert (listing.num_found, listing.error) == (5, None)
    assert server.count("/feed") == 2


def test_list_sources__a_listing_that_is_cut_short_is_said_to_be(tmp_path: Path, server: HostileServer) -> None:
    platform = make_platform(tmp_path / "root", limits={"max_entries": 4})
    url = rss(server, 5)
    add_project(platform, [{"type": "feeds", "urls": [url]}])
    outcome = list_sources(platform, "p")
    assert outcome.counts["members"] == 4
    said = outcome.metadata[f"cut short: {url}"]
    assert "stopped after 4 entries" in str(said)
    add_project(platform, [{"type": "feeds", "urls": [url], "max_results": 3}], name="q")
    assert "cut short" not in str(list_sources(platform, "q").metadata)


def test_list_sources__what_a_folder_holds_besides_is_kept(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "[work] 100% #1?"
    folder.mkdir()
    (folder / "Part #1 of 2.mp4").write_bytes(b"one")
    for name in ("a.swf", "b.SWF", "notes.txt"):
        (folder / name).touch()
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))).write_bytes(b"two")
    sources = [{"type": "files", "paths": ["*", "~nobodyhere/x.mp4"]}, {"type": "frames", "folders": ["none"]}]
    add_project(platform, sources, config_file=folder / "p.yaml")
    outcome = list_sources(platform, "p")
    assert (outcome.counts["members"], outcome.counts["failed_sources"]) == (1, 2)
    kept = listings(platform)
    assert kept["*"].passed_over == "4 files were left out: .swf (2), .txt (1), name not UTF-8: caf\\xe9.mp4 (1)"
    assert outcome.metadata["in *"] == kept["*"].passed_over
    assert (
        kept["~nobodyhere/x.mp4"].error
        == "there is neither a user 'nobodyhere' nor a file '~nobodyhere'; give a full path"
    )
    (row,) = find_videos(platform.database)
    assert row.url == str(folder.resolve() / "Part #1 of 2.mp4")

    add_project(platform, [{"type": "files", "paths": ["Part #1 of 2.mp4"]}], config_file=folder / "p.yaml")
    list_sources(platform, "p")
    (listing,) = listings(platform).values()  # listings of removed entries are deleted
    assert (listing.query, listing.error, listing.passed_over) == ("Part #1 of 2.mp4", None, None)


def test_list_sources__videos_of_a_source_that_was_taken_out_are_told(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.mp4").write_bytes(name.encode())
    both = [{"type": "files", "paths": ["one"]}, {"type": "files", "paths": ["two"]}]
    add_project(platform, both, config_file=tmp_path / "p.yaml")
    assert "of_removed_sources" not in list_sources(platform, "p").counts
    add_project(platform, both[:1], config_file=tmp_path / "p.yaml")
    assert list_sources(platform, "p").counts["of_removed_sources"] == 1
    (key,) = [row.key for row in find_videos(platform.database, project="p") if row.url.endswith("two.mp4")]
    assert f"still has 1 video from sources that its file no longer names ({key}); to remove a video" in caplog.text
    assert len(find_videos(platform.database, project="p")) == 2
