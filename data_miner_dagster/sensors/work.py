"""The sensor that requests runs for all due work that is not yet in flight.

One sensor plans everything, because each tick costs Dagster more than our own queries. A tick reads the due work, the
open batches and the leases of runs, but never all videos. It queries Dagster only if the catalog shows work in progress
or work to request, or if a project file has changed.
"""

import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.batches import open_batches
from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.holds import lines_of_holds
from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.jobs import JOB_BY_STAGE, JOBS, SHARE_JOB_BY_STAGE
from data_miner_dagster.operations.alerting.sending import watch_of
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.auditing import audit_next, settle_bases
from data_miner_dagster.partitions import PROJECTS, add_partitions
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.sensors.lost_work import end_lost_work
from data_miner_dagster.sensors.project_files import watched_folder
from data_miner_dagster.sensors.projects import request_projects
from data_miner_dagster.sensors.requests import Room
from data_miner_dagster.sensors.sharing import request_shares
from data_miner_dagster.sensors.states import project_states
from data_miner_dagster.sensors.videos import request_videos

_TICK_SECONDS: Final = 4
"""The minimum time between ticks. The daemon evaluates sensors every 5 s, often slightly early: 5 would skip ticks."""
_MOST_LINES: Final = 10
_SETTLING_SECONDS: Final = 20.0
"""The maximum time per tick for reading files from an earlier version. Dagster aborts ticks that take over 60 s."""
_AUDIT_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 30.0
"""The time between two checks for alerts, in seconds."""
_AUDITED: Final = 25
"""The number of videos whose files are checked per minute."""


class _Tick:
    """The parts of one tick. A part that fails does not stop the others."""

    def __init__(self, context: dg.SensorEvaluationContext, platform: Platform) -> None:
        self.requests: list[dg.RunRequest] = []
        self.waiting: list[str] = []
        self._context = context
        self._platform = platform

    def attempt(self, part: str, work: Callable[[], None]) -> None:
        """Run one part of the tick, and record one line if it fails."""
        try:
            outcome = attempt_alone("wanted_work", part, work)
        except DataMinerError as error:
            self.waiting.insert(0, f"{part}: {error}")
        else:
            if not isinstance(outcome, ItemFault):
                return
            self.waiting.insert(0, f"{part}: {outcome.line}")
        self._context.log.error(self.waiting[0])

    def end_lost_work(self) -> None:
        """End dead runs and their batches, so that their work can be requested again."""
        for line in end_lost_work(lambda: self._context.instance, self._platform):
            self._context.log.warning(line)

    def register_files(self) -> None:
        """Register new and changed project files, and add their projects as partitions."""
        folder = watched_folder(self._platform)
        if folder.register():
            add_partitions(self._context.instance, PROJECTS, [state.name for state in project_states(self._platform)])
            for line in folder.refused:  # logged once, although every tick counts the file
                self._context.log.error(line)
        if folder.refused:
            number = len(folder.refused)
            others = f"; `data-miner status` names {number - 1} more" if number > 1 else ""
            self.waiting.append(f"project file refused: {folder.refused[0]}{others}")

    def look_at_files(self) -> None:
        """Make results from other settings or versions due again. Once this is complete, check the next few videos.

        Videos are checked at most once a minute.
        """
        if not settle_bases(self._platform, max_seconds=_SETTLING_SECONDS):
            self.waiting.append("files from earlier settings or versions are being checked")
        elif (audit := _audit_of(self._platform)).is_due:
            audit.go_on()

    def watch(self) -> None:
        """Notify the configured targets of alerts that have begun or ended, if a check is due."""
        if self._platform.config.alerts.targets and (regular := _regular_watch(self._platform)).is_due:
            for title in regular.go_on():
                self._context.log.warning(title)

    def request_of_videos(self) -> None:
        """Request runs for due videos, as many as `Room` allows, and note closed stages and holds."""
        self.requests += request_videos(self._platform, self._room)
        with self._platform.database.reading() as session:
            gates = closed_stages(session)
        self.waiting += [
            f"{gate.stage.value.lower()} is closed until {gate.closed_until:%Y-%m-%d %H:%M:%S} UTC: {gate.reason}"
            for gate in gates
        ]
        self.waiting += lines_of_holds(self._platform.database)

    def request_of_projects(self) -> None:
        """Request runs for projects that are waiting for a stage, as many as `Room` allows."""
        states = project_states(self._platform)
        requests, waiting = request_projects(self._platform, states, self._room, self._context.log.error)
        self.requests += requests
        self.waiting += waiting

    def request_of_shares(self) -> None:
        """Request additional runs for a project if its pool has slots that no other work is waiting for."""
        self.requests += request_shares(self._platform, self._room)

    @cached_property
    def _room(self) -> Room:
        database = self._platform.database
        return Room(lambda: self._context.instance, open_batches(database), find_leases(database))


class _Audit:
    """A slow check of all files, 25 videos a minute, which eventually notices that a file was deleted by hand."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._after: str | None = None
        self._due = time.monotonic() + _AUDIT_SECONDS

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def go_on(self) -> None:
        """Check the files of the next few videos."""
        self._due = time.monotonic() + _AUDIT_SECONDS
        self._after = audit_next(self._platform, self._after, max_videos=_AUDITED)


class _RegularWatch:
    """A check for alerts, which is due twice a minute."""

    def __init__(self, platform: Platform) -> None:
        self._watch = watch_of(platform)
        self._due = 0.0  # time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def go_on(self) -> list[str]:
        """Check for alerts once, and return the titles of the messages that this queued (see `Watch.look`)."""
        self._due = time.monotonic() + _WATCH_SECONDS
        return self._watch.look()


@lru_cache(maxsize=4)
def _regular_watch(platform: Platform) -> _RegularWatch:
    return _RegularWatch(platform)


@lru_cache(maxsize=4)
def _audit_of(platform: Platform) -> _Audit:
    return _Audit(platform)


@dg.sensor(
    jobs=[JOBS[name] for name in (*JOB_BY_STAGE.values(), *SHARE_JOB_BY_STAGE.values())],
    minimum_interval_seconds=_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Registers project files, ends dead runs, and requests runs for all due work that is not in flight "
    "yet: batches of videos to download, extract and embed, and the next stage of each project.",
)
def wanted_work(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Carry out one tick: end lost work, register and check files, request runs for due work, and send alerts."""
    # The platform is not a parameter, since Dagster would open the instance for it, which costs more than an idle tick.
    tick = _Tick(context, PlatformResource().open())
    tick.attempt("lost work", tick.end_lost_work)
    tick.attempt("project files", tick.register_files)
    tick.attempt("files", tick.look_at_files)
    tick.attempt("videos", tick.request_of_videos)
    tick.attempt("projects", tick.request_of_projects)
    tick.attempt("shares", tick.request_of_shares)
    tick.attempt("alerts", tick.watch)
    if tick.requests:
        return dg.SensorResult(run_requests=tick.requests)
    return dg.SensorResult(skip_reason="; ".join(tick.waiting[:_MOST_LINES]) or "everything is done")
