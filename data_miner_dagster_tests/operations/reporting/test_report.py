import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_miner_dagster.domain.tables import REUPLOADS_SCHEMA
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.report import write_report
from data_miner_dagster.operations.split_memory import read_manifests
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Page(HTMLParser):
    """A parser that collects a page's references, anchors, text and unclosed elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href"} and value:
                self.references.append(value)
            if name == "id" and value:
                self.anchors.add(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a platform with one release and its report."""
    platform = build_project(tmp_path_factory.mktemp("released") / "root")
    release_project(platform, "cyclists")
    return platform


def _html(platform: Platform) -> str:
    return (platform.layout.report_folder("cyclists") / "index.html").read_text(encoding="utf-8")


def _write_again(platform: Platform, *, rewrite: bool) -> None:
    manifest = read_manifests(platform, "cyclists")["v001"]
    write_report(platform, platform.project_config("cyclists"), manifest, rewrite=rewrite)


def test_write_report__needs_nothing_from_elsewhere(platform: Platform) -> None:
    page = _Page(_html(platform))
    assert page.open == []
    loaded = {ref for ref in page.references if not ref.startswith(("data:image/webp", "#"))}
    moments = {ref for ref in loaded if "#t=" in ref}  # these are links as well
    assert {ref.partition("#t=")[0] for ref in moments} < loaded
    assert loaded - moments == {
        *(f"https://videos.example/files-{key}.mp4" for key in ("aaa", "bbb", "ccc")),  # linked, not loaded
        "../../releases/cyclists/v001",
        "../../releases/cyclists/v001/datasheet.md",
    }
    report = platform.layout.report_folder("cyclists")
    assert (report / "../../releases/cyclists/v001/datasheet.md").resolve().is_file()
    assert {ref[1:] for ref in page.references if ref.startswith("#")} <= page.anchors
    assert "<script" not in _html(platform)
    assert "url(" not in _html(platform)


def test_write_report__each_picture_opens_says_its_second_and_leads_there(platform: Platform) -> None:
    html = _html(platform)
    page = _Page(html)
    assert "loading=" not in html  # without lazy loading, a capture of the whole page shows every picture
    assert {"boxes-1", "boxes-1-large", "kept-1", "kept-1-large"} <= page.anchors
    assert page.references.count("#boxes-1-large") == page.references.count("#boxes-1") == 1
    # Frame 3 of files-aaa is at 3 s.
    assert "https://videos.example/files-aaa.mp4#t=3" in page.references
    assert " at 0:03" in page.text
    assert "files-aaa/000003" not in page.text  # it is only in the tooltip
    assert "data-miner export cyclists --to FOLDER" in page.text


def test_write_report__shows_counts_reasons_and_provenance(platform: Platform) -> None:
    text = re.sub(r"\s+", " ", _Page(_html(platform)).text)
    for phrase in (
        "cyclists v001",
        "1 failed: cannot be decoded",
        "1 near-duplicate in another video",
        "CC-BY-4.0",
        "Example channel",
        "lite-conse",
        "Apache-2.0",
        "“a bicycle”",
        "data-miner review cyclists",
    ):
        assert phrase in text, phrase


def test_write_report__says_how_many_frames_wait_and_why_boxes_are_missing(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", releasing={"unsure": "hold"})
    release_project(platform, "cyclists")
    html = _html(platform)
    funnel = re.sub(
        r"\s+", " ", _Page(html).text.partition("From videos to boxes")[2].partition("Labels and splits")[0]
    )
    assert re.search(r"frames settled 6 1 waiting for review", funnel)
    assert "only those on released images" in funnel
    assert "`data-miner review" not in html  # commands are formatted as code


def test_write_report__foreign_text_stays_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    platform = build_project(
        tmp_path, videos=[SampleVideo("files-aaa")], description=hostile, filtering={"positive": [hostile]}
    )
    release_project(platform, "cyclists")
    assert hostile not in _html(platform)
    assert "&lt;script&gt;alert(1)" in _html(platform)


def test_write_report__whole_reuploads(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    assert "reuploads" not in _Page(_html(platform)).anchors
    found = {"video_key": "files-bbb", "original_video_key": "files-aaa", "share": 0.9, "original_share": 0.5}
    table = table_from_rows([found | {"num_matched_frames": 9, "num_frames": 10}], REUPLOADS_SCHEMA)
    write_table(platform.layout.reuploads_table("cyclists"), table, fingerprint="1")
    _write_again(platform, rewrite=True)
    page = _Page(_html(platform))
    assert {"reuploads"} <= page.anchors
    assert page.open == []
    assert "Clip bbb files-bbb Clip aaa files-aaa 9 of 10 50 %" in re.sub(
        r"\s+", " ", re.sub("<[^>]*>", " ", _html(platform))
    )


def test_write_report__written_once(platform: Platform) -> None:
    page = platform.layout.report_folder("cyclists") / "index.html"
    before = page.stat().st_mtime_ns
    _write_again(platform, rewrite=False)
    assert page.stat().st_mtime_ns == before
    _write_again(platform, rewrite=True)
    assert page.stat().st_mtime_ns != before


def test_write_report__a_release_without_boxes_duplicates_or_rejects(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[SampleVideo("files-aaa", num_frames=1)])
    release_project(platform, "cyclists")
    page = _Page(_html(platform))
    assert page.open == []
    assert {"boxes", "duplicates", "dropped"}.isdisjoint(page.anchors)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_write_report__chromium_draws_it(platform: Platform, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--window-size=1000,1600",
            f"--screenshot={picture}",
            (platform.layout.report_folder("cyclists") / "index.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=300,
    )
    # a screenshot of an empty page of this size takes only a few kB
    assert picture.stat().st_size > 60_000
