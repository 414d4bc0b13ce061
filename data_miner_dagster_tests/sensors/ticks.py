"""Ticks of the sensors on a real instance, and what they find."""

import logging
from pathlib import Path

import dagster as dg

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


def tick(instance: dg.DagsterInstance, sensor: str) -> dg.SensorResult:
    definition = defs.get_repository_def().get_sensor_def(sensor)
    with dg.build_sensor_context(instance=instance, resources={"platform": PlatformResource()}) as context:
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


def requests_of(result: dg.SensorResult) -> list[dg.RunRequest]:
    return list(result.run_requests or [])
