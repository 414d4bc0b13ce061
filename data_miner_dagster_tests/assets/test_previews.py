from pathlib import Path

import dagster as dg

from data_miner_dagster.assets.previews import deduplication_metadata, filtering_metadata
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


def test_filtering_metadata__tells_how_to_calibrate(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    filter_project(platform, "pets")
    assert filtering_metadata(platform, "pets")["calibrate"] == dg.MetadataValue.md("`data-miner calibrate pets`")
    sheet = write_questions(platform, "pets")
    page = filtering_metadata(platform, "pets")["calibration page"]
    assert page == dg.MetadataValue.url(sheet.page.as_uri())


def test_deduplication_metadata__reuploads_are_a_table(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE])
    run(platform)
    assert "reuploads" not in deduplication_metadata(platform, "pets")
    plant(platform, "site-b", [CAT, CAT_ON_BUS, CAT_ON_SLIDE, CAT_ON_SLIDE])
    run(platform)
    table = deduplication_metadata(platform, "pets")["reuploads"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [column.name for column in table.schema.columns] == list(table.records[0].data)
    assert table.records[0].data == {
        "video": "site-b",
        "video key": "site-b",
        "found in": "site-a",
        "found in key": "site-a",
        "frames": "4 of 4",
        "share": 1.0,
        "share of the other": 1.0,
    }
