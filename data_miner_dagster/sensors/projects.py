"""Request runs for projects that are waiting for a stage, from listing their sources to releasing."""

import time
from collections.abc import Callable, Collection
from datetime import datetime
from functools import lru_cache, partial
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.batches import take_project_batch
from data_miner_dagster.catalog.holds import why_held
from data_miner_dagster.catalog.in_flight import projects_in_flight
from data_miner_dagster.catalog.members import has_members, num_embedded_members
from data_miner_dagster.catalog.pending import is_project_settled
from data_miner_dagster.catalog.releases import num_released_videos
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.settings import RefreshConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.builds import why_reviewed
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.planning import (
    BUILD_STAGES,
    FailedStage,
    ProjectState,
    next_stage,
    standing_failure,
    why_not_yet,
)
from data_miner_dagster.sensors.requests import Room, request_of
from data_miner_dagster.sensors.states import failures_by_project

_COUNT_SECONDS: Final = 60.0
"""How long a count of new videos is cached, since counting reads all videos of a project."""
_num_new: dict[tuple[str, str], tuple[float, int]] = {}  # the time of counting and the count, by root and project


def request_projects(
    platform: Platform, states: list[ProjectState], room: Room, log: Callable[[str], object]
) -> tuple[list[dg.RunRequest], list[str]]:
    """Return run requests for projects, as many as `room` allows, and a line for each project that has to wait.

    The line says why the project has to wait. A complete project has neither a request nor a line. Each requested run's
    batch is recorded in the catalog. Errors in single projects are passed to `log`.
    """
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    in_flight = projects_in_flight(platform.database)
    failures = failures_by_project(platform, [state.name for state in states])
    for state in states:
        failed = standing_failure(state, failures.get(state.name, []))
        outcome: dg.RunRequest | ItemFault | str | None
        try:
            outcome = attempt_alone(
                "projects", state.name, partial(_request_or_reason, platform, state, room, in_flight, failed)
            )
        except ConfigError as error:  # concerns only that project's configuration, so the others continue
            outcome = str(error)
            log(f"{state.name}: {outcome}")
        if isinstance(outcome, ItemFault):
            outcome = outcome.line
            log(f"{state.name}: {outcome}")
        if isinstance(outcome, str):
            waiting.append(f"{state.name}: {outcome}")
        elif outcome is not None:
            requests.append(outcome)
    return requests, waiting


def _request_or_reason(
    platform: Platform,
    project: ProjectState,
    room: Room,
    in_flight: Collection[tuple[WorkStage, str]],
    failed: FailedStage | None,
) -> dg.RunRequest | str | None:
    """Return the run to request, the reason why the project has to wait, or None if the project is complete.

    The batch of a run to request is recorded in the catalog, and its slot is counted in `room`.
    """
    now = utc_now()
    stage = next_stage(project, failed)
    if stage is None:
        return None
    if stage is WorkStage.SOURCING and project.is_withdrawn:
        return "its project file was removed, so its sources are not listed"
    if (why := why_not_yet(project, failed, now)) is not None:
        return why
    if stage is BUILD_STAGES[0] and failed is None and (why := _why_not_built(platform, project, now)) is not None:
        return why
    if (stage, project.name) in in_flight:
        return f"{stage.value.lower()} is in progress"
    if not room.has(stage):
        return f"it is waiting for a free slot for {stage.value.lower()}"
    batch = take_project_batch(platform.database, stage, project.name)
    if batch is None:
        held = why_held(platform.database, project.name, stage)
        return f"{stage.value.lower()} is closed for now" if held is None else held
    room.take(stage)
    return request_of(batch, [project.name])


def _why_not_built(platform: Platform, project: ProjectState, now: datetime) -> str | None:
    """Return why no build of a project starts now, or None if one may start.

    The project may have no videos, may be under review, or may be waiting for more videos.
    """
    refresh = _refresh_of(platform, project.name, project.config_hash)
    if (why := why_reviewed(platform.database, project.name, refresh, now)) is not None:
        return why
    with platform.database.reading() as session:
        if is_project_settled(session, project.name, now):
            return None if has_members(session, project.name) else "it has no videos"
    if refresh.wait_for_all:
        return "videos are still in progress"
    num_new = _count_new(platform, project.name)
    if num_new >= refresh.min_new_videos:
        return None
    return f"{counted(num_new, 'new video is', 'new videos are')} ready; a build needs {refresh.min_new_videos:,}"


@lru_cache(maxsize=1024)
def _refresh_of(platform: Platform, project: str, _config_hash: str) -> RefreshConfig:
    return platform.project_config(project).refresh


def _count_new(platform: Platform, project: str) -> int:
    place = (str(platform.root), project)
    counted_at, number = _num_new.get(place, (float("-inf"), 0))
    if time.monotonic() - counted_at > _COUNT_SECONDS:
        with platform.database.reading() as session:
            number = num_embedded_members(session, project)
        # A release may have considered videos that were removed since.
        number = max(0, number - num_released_videos(platform.database, project))
        _num_new[place] = time.monotonic(), number
    return number
