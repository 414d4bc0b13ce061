import shutil
from pathlib import Path

import dagster as dg
from PIL import Image

from data_miner_dagster.assets.previews import deduplication_metadata, filtering_metadata, frames_metadata
from data_miner_dagster.operations.filtering.calibration import write_questions
from data_miner_dagster.operations.filtering.filter_project import filter_project
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


def test_filtering_metadata__tells_how_to_calibrate(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    filter_project(platform, "pets")
    assert filtering_metadata(platform, "pets")["calibrate"] == dg.MetadataValue.md("`data-miner calibrate pets`")
    sheet = write_questions(platform, "pets")
    page = filtering_metadata(platform, "pets")["calibration page"]
    assert page == dg.MetadataValue.url(sheet.page.as_uri())


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


def test_frames_metadata__the_picture_is_a_file_and_the_event_has_its_address(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="extraction")
    file = platform.layout.video_preview("files-aaa")
    address = "/previews/videos/files-aaa.webp"
    shown = dg.MetadataValue.md(f"![frames]({address})")
    assert frames_metadata(platform, "files-aaa") == {"preview": shown}
    with Image.open(file) as sheet:
        assert (sheet.format, sheet.width) == ("WEBP", 4 * 248 + 4)
    written = file.stat().st_mtime_ns
    frames_metadata(platform, "files-aaa")
    assert file.stat().st_mtime_ns == written
    shutil.rmtree(platform.layout.frames_folder("files-aaa"))
    assert frames_metadata(platform, "files-aaa") == {}
    assert not file.exists()  # no picture of frames that are gone


def test_frames_metadata__a_preview_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="extraction")
    platform.layout.previews.write_text("in the way")
    told = frames_metadata(platform, "files-aaa")["preview"]
    assert isinstance(told, dg.TextMetadataValue)
    assert str(told.text).startswith("not drawn: NotADirectoryError")
