"""Run ticks of the sensor on a real instance, and read their results."""

import logging
from pathlib import Path
from typing import Any, cast

import dagster as dg

from data_miner_dagster.catalog.batches import end_batch, open_batches
from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.work import BATCH_TAG
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml


class Lines(logging.Handler):
    """Keeps the logged messages."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


def tick(instance: dg.DagsterInstance, lines: Lines | None = None) -> dg.SensorResult:
    definition = defs.get_repository_def().get_sensor_def("wanted_work")
    context = dg.build_sensor_context(instance=instance)
    if lines is not None:
        context.log.addHandler(lines)
    result = definition(context)
    assert isinstance(result, dg.SensorResult)
    return result


def drop_project(platform: Platform, name: str = "street", **changes: object) -> Path:
    content = project(name, [{"type": "urls", "urls": ["http://127.0.0.1:9/a.mp4"]}], **changes)
    del content["platform"]
    return write_yaml(platform.layout.project_files / f"{name}.yaml", content)


def add_members(platform: Platform, keys: list[str], name: str = "street") -> None:
    with platform.database.transaction() as session:
        for rank, key in enumerate(keys):
            candidate = VideoCandidate(key, f"http://127.0.0.1:9/{key}.mp4", "urls", "test", rank, utc_now())
            add_candidates(session, name, [(candidate, None)])


def list_projects(instance: dg.DagsterInstance, platform: Platform, *names: str) -> None:
    """Register the dropped project files, and mark their projects as listed."""
    tick(instance)
    for batch in open_batches(platform.database):
        end_batch(platform.database, batch.id, "listed")
    for name in names:
        row = find_project(platform.database, name)
        assert row is not None
        update_project(platform.database, name, sourced_config_hash=row.config_hash)


def requests_of(result: dg.SensorResult) -> list[dg.RunRequest]:
    return list(result.run_requests or [])


def reason_of(result: dg.SensorResult) -> str:
    assert not result.run_requests, result.run_requests
    return str(result.skip_reason and result.skip_reason.skip_message)


def keys_of(request: dg.RunRequest) -> list[str]:
    (op,) = cast("dict[str, Any]", request.run_config["ops"]).values()
    return list(op["config"]["keys"])


def run_of(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Create the run that Dagster would create for a request."""
    assert BATCH_TAG in request.tags
    assert request.job_name is not None
    return instance.create_run_for_job(
        defs.resolve_job_def(request.job_name), tags=dict(request.tags), status=status, run_config=request.run_config
    )
