"""Turn project files into projects, their partitions, and runs that list their sources."""

import os
from functools import partial
from pathlib import Path
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.config.loading import resolve_project_files
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.jobs import JOBS, LIST_SOURCES
from data_miner_dagster.operations.foreign.project_file_workers import ProjectFileWorkers
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.partitions import PROJECTS, add_partitions
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.runs import active_runs
from data_miner_dagster.sensors.in_flight import FAILED, WORK_TAG, count_runs, keys_in_flight, why_it_waits
from data_miner_dagster.sensors.planning import ProjectState, needs_sourcing
from data_miner_dagster.sensors.states import project_states

_SUFFIXES = (".yaml", ".yml")
MAX_LISTINGS_AT_ONCE: Final = 25
"""A folder of a thousand project files puts at most this many runs into the queue at a time."""


def register_project_files(platform: Platform) -> list[str]:
    """Register every project file of the watched folder; return one line per refused file. Idempotent.

    The content of one file never affects the others.
    """
    folder = resolve_project_files(platform.config, platform.layout.project_files)
    if not folder.is_dir():
        return []
    with ProjectFileWorkers() as workers:
        return _registered(platform, folder, workers)


def _registered(platform: Platform, folder: Path, workers: ProjectFileWorkers) -> list[str]:
    known = {row.config_file for row in find_projects(platform.database)}
    found = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")]
    registered: dict[str, Path] = {}
    refused = []
    # If two files name the same project, the file that is already registered keeps it.
    for path in sorted(found, key=lambda path: (str(path) not in known, path.name)):
        shown = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        try:
            if shown != path.name:
                raise ConfigError("its name is not UTF-8: rename it")
            register = partial(register_project_file, platform, path, taken=registered, parse=workers.parse)
            outcome = attempt_alone("project_files", shown, register)
        except DataMinerError as error:
            refused.append(f"{shown}: {error}")
        else:
            if isinstance(outcome, ItemFault):
                refused.append(f"{shown}: {outcome.line}")
            else:
                registered[outcome.name] = path
    return refused


def _request_or_reason(
    instance: dg.DagsterInstance, state: ProjectState, config: DownloadingConfig
) -> dg.RunRequest | str:
    """Return the run to request, or why it has to wait."""
    work = fingerprint_of({"job": LIST_SOURCES, "project": state.name, "config": state.config_hash})
    if (waiting := why_it_waits(instance, work, config, [*FAILED, dg.DagsterRunStatus.SUCCESS])) is not None:
        return waiting
    attempts = count_runs(instance, work)
    return dg.RunRequest(run_key=f"{work}:{attempts}", partition_key=state.name, tags={WORK_TAG: work})


@dg.sensor(
    job=JOBS[LIST_SOURCES],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Registers new and changed project files and lists their sources. Keeps a project whose file "
    "disappears, but stops listing its sources.",
)
def project_files(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Request a run for every project whose sources were not listed with its present configuration."""
    opened = platform.open()
    refused = register_project_files(opened)
    cursor = fingerprint_of({"refused": refused})
    if cursor != context.cursor:  # log a refused file once, although every tick counts it
        for line in refused:
            context.log.error(line)
    states = project_states(opened)
    add_partitions(context.instance, PROJECTS, [state.name for state in states])
    busy = keys_in_flight(active_runs(context.instance), LIST_SOURCES, [])
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    faulty: list[str] = []
    for state in states:
        if state.is_withdrawn or not needs_sourcing(state) or state.name in busy:
            continue
        if len(requests) + len(busy) >= MAX_LISTINGS_AT_ONCE:
            break  # the next tick continues
        ask = partial(_request_or_reason, context.instance, state, opened.config.downloading)
        request = attempt_alone("project_files", state.name, ask)
        if isinstance(request, ItemFault):
            context.log.error(f"{state.name}: {request.line}")
            faulty.append(f"{state.name}: {request.line}")
        elif isinstance(request, str):
            waiting.append(f"{state.name}: {request}")
        else:
            requests.append(request)
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor)
    withdrawn = [state.name for state in states if state.is_withdrawn]
    return dg.SensorResult(
        skip_reason=f"{len(states)} projects listed; {len(refused)} files refused"
        + "".join(f"; {line}" for line in waiting[:5])
        + (f"; without a file, and so not listed again: {', '.join(withdrawn[:5])}" if withdrawn else "")
        + (f". {'; '.join([*refused[:1], *faulty[:5]])}" if refused or faulty else ""),
        cursor=cursor,
    )
