"""Test the jobs, and that only one place contains their names."""

import ast
from pathlib import Path

import dagster as dg
import pytest

import data_miner_dagster
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.jobs import JOBS, OP_BY_JOB, POOL_BY_STAGE, PROJECT_JOBS, STAGE_BY_JOB, VIDEO_JOBS, config_of

PACKAGE = Path(data_miner_dagster.__file__).parent
ABOVE = ["cli", "web", "definitions.py", "schedules.py", "sensors"]
"""The rooms and modules that launch or watch jobs."""


def test_video_jobs__are_jobs_in_the_order_of_the_pipeline() -> None:
    assert [name for name in JOBS if name in VIDEO_JOBS] == list(VIDEO_JOBS)


def test_config_of__configures_the_op_of_the_job() -> None:
    force = {"config": {"force": True}}
    assert config_of("embed_frames", force=True) == {"embedding": force}
    assert [config_of(job, force=True) for job in PROJECT_JOBS] == [
        {"filtered_frames": force},
        {"deduplicated_frames": force},
        {"detections": force},
        {"dataset": force},
    ]


def test_pools__of_jobs_are_those_of_the_assets() -> None:
    assert POOL_BY_STAGE == {
        WorkStage.SOURCING: "sourcing",
        WorkStage.DOWNLOADING: "download",
        WorkStage.EXTRACTION: "extract",
        WorkStage.EMBEDDING: "inference",
        WorkStage.FILTERING: "inference",
        WorkStage.DEDUPLICATION: "inference",
        WorkStage.DETECTION: "inference",
        WorkStage.RELEASING: "release",
    }
    for name in VIDEO_JOBS:
        job = JOBS[name]
        assert isinstance(job, dg.JobDefinition)
        assert [node.definition.pools for node in job.nodes] == [{POOL_BY_STAGE[STAGE_BY_JOB[name]]}]


@pytest.mark.parametrize("room", ABOVE)
def test_names__of_jobs_and_ops_are_written_in_no_other_place(room: str) -> None:
    # only unambiguous names: `videos` and `frames`, for example, are also words in the headings of tables
    names = {*JOBS, *(op for op in OP_BY_JOB.values() if "_" in op)}
    path = PACKAGE / room
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []
