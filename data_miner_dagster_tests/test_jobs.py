"""Jobs, and the one place that names them."""

import ast
from pathlib import Path

import pytest

import data_miner_dagster
from data_miner_dagster.jobs import EMBED_FRAMES, JOBS, OPS_BY_JOB, PROJECT_JOBS, VIDEO_JOBS, forced_ops

PACKAGE = Path(data_miner_dagster.__file__).parent
ABOVE = ["cli", "web", "definitions.py", "schedules.py", "sensors"]
"""The rooms that launch jobs or watch them."""


def test_video_jobs__are_jobs_in_the_order_of_the_pipeline() -> None:
    assert [name for name in JOBS if name in VIDEO_JOBS] == list(VIDEO_JOBS)


def test_forced_ops__configures_every_op_of_the_job() -> None:
    force = {"config": {"force": True}}
    assert forced_ops(EMBED_FRAMES) == {"frame_embeddings": force}
    assert [forced_ops(job) for job in PROJECT_JOBS] == [
        {"filtered_frames": force},
        {"deduplicated_frames": force},
        {"detections": force},
        {"dataset": force},
    ]


@pytest.mark.parametrize("room", ABOVE)
def test_names__of_jobs_and_ops_are_written_in_no_other_place(room: str) -> None:
    # names that mean an asset alone: `videos` and `frames` are words of a table's head, too
    names = {*JOBS, *(op for ops in OPS_BY_JOB.values() for op in ops if "_" in op)}
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
