import re
import shutil
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from data_miner_dagster.assets.previews import (
    dataset_metadata,
    deduplication_metadata,
    detection_metadata,
    download_metadata,
    filtering_metadata,
    frames_metadata,
    sourcing_metadata,
    video_metadata,
)
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.axis_duplicates import (
    CAT,
    CAT_ON_BUS,
    CAT_ON_SLIDE,
    plant,
    run,
    save,
)
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
from data_miner_dagster_tests.support.sample_project import build_project


def test_project_metadata__leads_to_the_review_pages_without_a_secret_or_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_MINER_REVIEW_PORT", "3777")  # the reader's pages may be served by another `up`
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    asked = {
        filtering_metadata: "/queues/calibration",
        deduplication_metadata: "/queues/duplicates",
        detection_metadata: "/queues/unsure",
        dataset_metadata: "",
    }
    for metadata_of, page in asked.items():
        text = markdown(metadata_of(platform, "cyclists")["next"])
        assert re.search(r"\n\n!\[frames\]\(/previews/projects/cyclists/\w+\.webp\)$", text)
        assert "`data-miner review cyclists` " in text
        assert f"[review](/review/projects/cyclists{page})\n" in text
    text = markdown(dataset_metadata(platform, "cyclists")["next"])
    assert text.startswith("`data-miner export cyclists --to FOLDER` exports the release; ")
    assert "[report](/review/report/cyclists/), " in text


def test_project_metadata__a_picture_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    platform.layout.previews.write_text("in the way")
    shown = detection_metadata(platform, "cyclists")
    assert markdown(shown["next"]).startswith("`data-miner review cyclists` ")
    assert str(shown["preview"].value).startswith("the preview could not be drawn: NotADirectoryError")


def markdown(value: dg.MetadataValue) -> str:
    assert isinstance(value, dg.MarkdownMetadataValue)
    assert value.md_str is not None
    return value.md_str


def test_deduplication_metadata__reuploads_are_told(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE])
    run(platform)
    assert "reuploads" not in deduplication_metadata(platform, "pets")
    plant(platform, "site-b", [CAT, CAT_ON_BUS, CAT_ON_SLIDE, CAT_ON_SLIDE])
    run(platform)
    told = deduplication_metadata(platform, "pets")["reuploads"]
    assert told == dg.MetadataValue.text("site-b (site-b) in site-a (site-a): 4 of 4 frames")


def test_sourcing_metadata__counts_members_and_leads_to_the_project(tmp_path: Path) -> None:
    told = sourcing_metadata(build_project(tmp_path), "cyclists")
    assert told["review"] == dg.MetadataValue.url("/review/projects/cyclists")
    assert list(told) == ["members", "review"]


def test_frames_metadata__the_picture_is_a_file_and_the_event_has_its_address(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="extraction")
    file = platform.layout.video_preview("files-aaa")
    address = "/previews/videos/files-aaa.webp"
    shown = dg.MetadataValue.md(f"![frames]({address})")
    review = dg.MetadataValue.url("/review/videos/files-aaa")
    assert frames_metadata(platform, "files-aaa") == {"review": review, "preview": shown}
    with Image.open(file) as sheet:
        assert (sheet.format, sheet.width) == ("WEBP", 2 * 248 + 4)
    written = file.stat().st_mtime_ns
    frames_metadata(platform, "files-aaa")
    assert file.stat().st_mtime_ns == written
    shutil.rmtree(platform.layout.frames_folder("files-aaa"))
    assert frames_metadata(platform, "files-aaa") == video_metadata("files-aaa") == {"review": review}
    assert not file.exists()  # a preview is not kept after its frames
    later = dg.MetadataValue.md(f"![shown once frames are extracted]({address})")
    assert download_metadata(platform, "files-aaa") == {"review": review, "preview": later}


def test_dataset_metadata__says_what_a_further_release_changes(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    assert "changes" not in dataset_metadata(platform, "cyclists")
    row = find_project(platform.database, "cyclists")
    assert row is not None
    releasing = row.config["releasing"]
    assert isinstance(releasing, dict)
    stricter: dict[str, object] = {**releasing, "confidence_threshold": 0.65}
    save_snapshot(platform.database, "cyclists", {**row.config, "releasing": stricter}, "another", None)
    release_project(platform, "cyclists")
    changes = dataset_metadata(platform, "cyclists")["changes"]
    assert "images" in str(changes.value)


def test_frames_metadata__a_preview_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="extraction")
    platform.layout.previews.write_text("in the way")
    told = frames_metadata(platform, "files-aaa")["preview"]
    assert isinstance(told, dg.TextMetadataValue)
    assert str(told.text).startswith("the preview could not be drawn: NotADirectoryError")
