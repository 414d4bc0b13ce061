"""Test what Dagster loads: the eight assets, their partitions, pools and edges, but no heavy modules."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from data_miner_dagster import asset_checks
from data_miner_dagster.asset_checks import ALL_CHECKS
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain import versions
from data_miner_dagster.domain.work import ASSETS
from data_miner_dagster.jobs import JOB_BY_STAGE, OP_BY_JOB, OPTIONAL_ASSETS, PROJECT_JOBS
from data_miner_dagster_tests.end_to_end.commands import environment

PER_VIDEO = {"videos", "frames", "frame_embeddings"}
PER_PROJECT = {"project_videos", "filtered_frames", "deduplicated_frames", "detections", "dataset"}
OPTIONAL = {"student"}
"""Assets that exist once per project but are not part of a build."""
POOLS = {
    "project_videos": "sourcing",
    "videos": "download",
    "frames": "extract",
    "frame_embeddings": "inference",
    "filtered_frames": "inference",
    "deduplicated_frames": "inference",
    "detections": "inference",
    "dataset": "release",
    "student": "training",
}


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return defs.resolve_asset_graph()


def test_definitions__hold_the_assets_and_no_phantom(graph: AssetGraph) -> None:
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert keys == PER_VIDEO | PER_PROJECT | OPTIONAL
    assert {key.to_user_string() for key in graph.executable_asset_keys} == keys


def test_definitions__assets_of_a_project_follow_each_other_in_the_order_of_its_stages(graph: AssetGraph) -> None:
    parents = {name: {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys} for name in PER_PROJECT}
    assert parents == {
        "project_videos": set(),
        "filtered_frames": {"project_videos", "frame_embeddings"},
        "deduplicated_frames": {"filtered_frames"},
        "detections": {"deduplicated_frames"},
        "dataset": {"detections"},
    }


def test_definitions__what_no_build_waits_for_has_a_job_of_its_own(graph: AssetGraph) -> None:
    assert set(OPTIONAL_ASSETS.values()) == OPTIONAL
    for job, asset in OPTIONAL_ASSETS.items():
        assert graph.get(dg.AssetKey(asset)).parent_keys == {dg.AssetKey("dataset")}
        assert graph.get(dg.AssetKey(asset)).child_keys == set()
        assert set(defs.resolve_job_def(job).graph.node_names()) == {asset}
        assert not [other for other in JOB_BY_STAGE.values() if asset in defs.resolve_job_def(other).graph.node_names()]


def test_definitions__every_stage_has_a_job() -> None:
    defs.get_repository_def().load_all_definitions()  # as code servers do; op and job names must be unique
    names = PER_VIDEO | PER_PROJECT
    assert set(ASSETS.values()) == names
    for stage, job in JOB_BY_STAGE.items():
        nodes = set(defs.resolve_job_def(job).graph.node_names())
        # Jobs for videos process lists of keys, in an op of their own, instead of partitions of the asset.
        assert names & nodes == {ASSETS[stage]} - PER_VIDEO
        assert ASSETS[stage] in nodes or nodes == {stage.value.lower()}


def test_definitions__hold_the_check_of_each_asset_but_the_list_of_videos() -> None:
    checks = {(key.asset_key.to_user_string(), key.name) for check in ALL_CHECKS for key in check.check_keys}
    assert checks == set(written_checks())
    assert {asset for asset, _ in checks} == PER_VIDEO | PER_PROJECT - {"project_videos"}
    for job in PROJECT_JOBS:
        asset = OP_BY_JOB[job]
        nodes = set(defs.resolve_job_def(job).graph.node_names())
        assert nodes == {asset, *(f"{asset}_{name}" for of, name in checks if of == asset)}


def written_checks() -> Iterator[tuple[str, str]]:
    """Yield the asset and the name of each function in `asset_checks` that is decorated as a check."""
    for path in Path(str(asset_checks.__file__)).parent.glob("[!_]*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                assert isinstance(node, ast.FunctionDef)
                assert isinstance(decorator, ast.Call)
                assert ast.unparse(decorator.func) == "dg.asset_check"
                (asset,) = [ast.unparse(keyword.value) for keyword in decorator.keywords if keyword.arg == "asset"]
                yield asset, node.name


def test_definitions__partition_sets(graph: AssetGraph) -> None:
    names = {}
    for key in graph.get_all_asset_keys():
        definition = graph.get(key).partitions_def
        assert isinstance(definition, dg.DynamicPartitionsDefinition)
        names[key.to_user_string()] = definition.name
    assert names == dict.fromkeys(PER_VIDEO, "videos") | dict.fromkeys(PER_PROJECT | OPTIONAL, "projects")


def test_definitions__edges_between_the_sets_ask_nothing_of_partitions(graph: AssetGraph) -> None:
    crossing = set()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        for parent in node.parent_keys:
            parent_node = graph.get(parent)
            if parent_node.partitions_def != node.partitions_def:
                crossing.add((parent.to_user_string(), key.to_user_string()))
                mapping = node.partition_mappings[parent]
                assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
                assert mapping.partition_keys == []
    assert crossing == {("project_videos", "videos"), ("frame_embeddings", "filtered_frames")}


def test_definitions__every_asset_says_what_it_is(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        name = key.to_user_string()
        assert node.pools == {POOLS[name]}
        assert node.group_name in {"acquisition", "frames", "dataset", "training"}
        assert node.kinds
        assert node.owners == ["team:data-miner"]
        assert node.tags["scope"] == ("shared" if name in PER_VIDEO else "project")
        assert node.description
        assert len(node.description) > 40


def test_definitions__the_code_version_of_an_asset_is_its_stages(graph: AssetGraph) -> None:
    found = {key.to_user_string(): graph.get(key).code_version for key in graph.get_all_asset_keys()}
    assert found == {
        "project_videos": str(versions.SOURCING_VERSION),
        "videos": str(versions.DOWNLOADING_VERSION),
        "frames": str(versions.EXTRACTION_VERSION),
        "frame_embeddings": str(versions.EMBEDDING_VERSION),
        "filtered_frames": f"{versions.SCORING_VERSION}.{versions.FILTERING_VERSION}",
        "deduplicated_frames": str(versions.DEDUPLICATION_VERSION),
        "detections": str(versions.DETECTION_VERSION),
        "dataset": f"{versions.RELEASING_VERSION}.{versions.REPORT_VERSION}",
        "student": str(versions.TRAINING_VERSION),
    }


def test_definitions__backfills_keep_the_per_video_assets_in_runs_of_their_own(graph: AssetGraph) -> None:
    sizes = [graph.get(dg.AssetKey(name)).backfill_policy for name in sorted(PER_VIDEO)]
    assert None not in sizes
    assert len({policy.max_partitions_per_run for policy in sizes if policy}) == len(PER_VIDEO)


def test_definitions__sensors_run_without_being_switched_on() -> None:
    repository = defs.get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {"wanted_work"}
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in repository.sensor_defs)


@pytest.mark.parametrize("module", ["data_miner_dagster.definitions", "data_miner_dagster.cli.main"])
def test_imports__nothing_heavy(module: str) -> None:
    heavy = ["torch", "transformers", "ultralytics", "av", "yt_dlp", "faiss", "cv2"]
    if module.endswith("cli.main"):
        heavy += ["dagster", "pandas"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"
