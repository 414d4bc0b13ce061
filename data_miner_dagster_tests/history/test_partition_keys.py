"""Tests which partition keys are removed, and what remains of them."""

from pathlib import Path

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from data_miner_dagster.history.partition_keys import remove_stray_keys
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PARTITION_TAG, PROJECTS, RANGE_START_TAG, VIDEOS
from data_miner_dagster_tests.support.sample_project import build_project

FRAMES, DATASET = dg.AssetKey("frames"), dg.AssetKey("dataset")
GONE = [f"files-gone-{number}" for number in range(1_100)]


def plant(instance: dg.DagsterInstance, tmp_path: Path) -> Platform:
    """Add keys that are in the catalog and keys that were deleted from it, and materialize some of them."""
    instance.add_dynamic_partitions(str(VIDEOS.name), ["files-aaa", *GONE])
    instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists", "gone"])
    for asset, key in ((FRAMES, "files-aaa"), (FRAMES, GONE[-1]), (DATASET, "cyclists"), (DATASET, "gone")):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))
    return build_project(tmp_path, through="sourcing")


def test_remove_stray_keys__state_goes_with_the_key(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    platform = plant(instance, tmp_path)
    assert remove_stray_keys(platform, instance) == (1_101, 0)
    assert instance.get_dynamic_partitions(str(VIDEOS.name)) == ["files-aaa"]
    assert instance.get_dynamic_partitions(str(PROJECTS.name)) == ["cyclists"]
    instance.add_dynamic_partitions(str(VIDEOS.name), [GONE[-1]])
    assert instance.get_materialized_partitions(FRAMES) == {"files-aaa"}
    assert instance.get_materialized_partitions(DATASET) == {"cyclists"}


def test_remove_stray_keys__keys_in_use_wait(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    platform = plant(instance, tmp_path)
    started = dg.DagsterRunStatus.STARTED
    create_run_for_test(instance, status=started, tags={PARTITION_TAG: "gone"})
    create_run_for_test(instance, status=started, tags={"data_miner/batch": "7"})  # a batch of keys, not a range
    ranging = create_run_for_test(instance, status=started, tags={RANGE_START_TAG: GONE[0]})
    assert remove_stray_keys(platform, instance) == (0, 1_101)
    instance.report_run_failed(ranging)
    assert remove_stray_keys(platform, instance) == (1_100, 1)
    assert instance.get_dynamic_partitions(str(PROJECTS.name)) == ["cyclists", "gone"]
