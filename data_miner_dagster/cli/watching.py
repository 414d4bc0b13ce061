"""Print lines about progress and changes, for `data-miner status --watch` and during `data-miner up`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from data_miner_dagster.cli.failed_runs import FailedRuns
from data_miner_dagster.cli.interrupts import ending_on_interrupt
from data_miner_dagster.cli.output import echo

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform

_LINES_SECONDS: Final = 60.0
_CHANGES_SECONDS: Final = 3.0


def watch(platform: "Platform", project: str | None, interval_seconds: float) -> None:
    """Print the progress of projects and runs until no work is due or in progress, or until Ctrl-C.

    If `project` is not None, only this project and its runs are included.

    While `data-miner up` is running, an unfinished project counts as work even between two of its runs. In that case,
    this function returns only after two consecutive checks without work, because a project file may just have been
    added.
    """
    from data_miner_dagster.domain.phrases import counted
    from data_miner_dagster.operations.progress import standing_of
    from data_miner_dagster.storage.root_lock import is_root_locked

    with ending_on_interrupt():
        is_quiet = False  # whether the previous check found nothing due
        while True:
            standing, under_way = standing_of(platform, project), _under_way(platform, project)
            is_up = is_root_locked(platform.layout.up_lock)
            at = f"{datetime.now(UTC):%H:%M:%S}Z"
            if standing.is_over and not (is_up and (under_way or not is_quiet)):
                for line in under_way:
                    echo(f"{at} {line}; `data-miner up` or `data-miner run --config FILE` continues the build")
                echo(f"{at} no work is due or in progress")
                return
            is_quiet = standing.is_over and not under_way
            if is_quiet:
                echo(f"{at} no work is due yet; `data-miner up` reads its folder of project files every few seconds")
            at_work = [f"{counted(standing.num_at_work, 'item')} in progress"] if standing.num_at_work else []
            for line in standing.lines or under_way or at_work:
                echo(f"{at} {line}")
            time.sleep(interval_seconds)


def _under_way(platform: "Platform", project: str | None) -> list[str]:
    """Return a line for each project whose build is not complete, unless the project is held or has failed."""
    from data_miner_dagster.catalog.holds import why_held
    from data_miner_dagster.catalog.projects import find_projects
    from data_miner_dagster.domain.phrases import phrase_of_stage
    from data_miner_dagster.domain.statuses import ProjectStage
    from data_miner_dagster.sensors.states import stopped_projects

    failed = {one.name for one in stopped_projects(platform)}
    return [
        f"{row.name}: {phrase_of_stage(row.stage)}"
        for row in find_projects(platform.database)
        if project in (None, row.name)
        and row.stage not in (ProjectStage.COMPLETE, ProjectStage.FAILED)
        and row.name not in failed
        and why_held(platform.database, row.name) is None
    ]


@contextmanager
def telling_changes(platform: "Platform", address: str) -> Iterator[None]:
    """While the block runs, print a line whenever a project advances or fails, a run fails, or a file is refused.

    `address` is the URL of Dagster's web server.
    """
    from data_miner_dagster.operations.item_faults import attempt_extra

    is_over = threading.Event()
    changes, failed = Changes(platform), FailedRuns(platform, address)
    looks = {"changes": changes.look, "failed runs": lambda: failed.look(changes.explained)}

    def tell() -> None:
        while True:
            for what, look in looks.items():
                lines = attempt_extra(what, str(platform.root), look)
                for line in lines if isinstance(lines, list) else []:
                    echo(f"{datetime.now(UTC):%H:%M:%S}Z {line}")
            if is_over.wait(_CHANGES_SECONDS):
                failed.close()
                return

    threading.Thread(target=tell, name="changes", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


class Changes:
    """Reports changes since the last call to `look`: new listings, stages, releases, failures and refused files."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform
        self._told: dict[str, str] | None = None  # lines by their subject
        self.explained: set[str] = set()
        """The ids of runs whose failures the latest lines report."""
        self._listed: dict[str, tuple[datetime, str]] = {}  # a cache, since counting reads all videos of a project

    def look(self) -> list[str]:
        """Return the lines that are new since the last call. The first call returns only failures and refused files."""
        alarms, lines = self._alarms(), self._lines()
        before = lines if self._told is None else self._told
        self._told = lines | alarms
        return [line for subject, line in self._told.items() if before.get(subject) != line]

    def _alarms(self) -> dict[str, str]:
        from data_miner_dagster.sensors.project_files import refused_files
        from data_miner_dagster.sensors.states import stopped_projects

        refused = {f"file {line}": f"project file refused: {line}" for line in refused_files(self._platform)}
        stopped = stopped_projects(self._platform)
        self.explained = {one.failed.run_id for one in stopped if one.failed.run_id is not None}
        return refused | {f"stage {one.name}": one.line for one in stopped}

    def _lines(self) -> dict[str, str]:
        from data_miner_dagster.catalog.projects import find_projects
        from data_miner_dagster.domain.phrases import phrase_of_stage

        lines: dict[str, str] = {}
        for row in find_projects(self._platform.database):
            if row.sourced_at is not None:
                lines[f"videos {row.name}"] = self._listing(row.name, row.sourced_at)
            lines[f"stage {row.name}"] = f"{row.name}: {phrase_of_stage(row.stage)}"
            if row.released_version is not None:
                report = self._platform.layout.report_page(row.name)
                lines[f"release {row.name}"] = f"{row.name}: {row.released_version} released → {report}"
        return lines

    def _listing(self, project: str, sourced_at: datetime) -> str:
        from data_miner_dagster.catalog.counts import count_project_videos
        from data_miner_dagster.domain.phrases import counted

        known = self._listed.get(project)
        if known is None or known[0] != sourced_at:
            number = sum(found.count for found in count_project_videos(self._platform.database, project))
            known = sourced_at, f"{project}: {counted(number, 'video')} listed"
            self._listed[project] = known
        return known[1]


@contextmanager
def telling_standing(platform: "Platform") -> Iterator[None]:
    """Once a minute while the block runs, print the progress of each project and run, if it has changed."""
    from data_miner_dagster.operations.item_faults import attempt_extra
    from data_miner_dagster.operations.progress import Standing, standing_of

    is_over = threading.Event()

    def tell() -> None:
        before: list[str] = []
        while not is_over.wait(_LINES_SECONDS):
            standing = attempt_extra("progress", str(platform.root), lambda: standing_of(platform))
            if isinstance(standing, Standing) and standing.lines != before:
                before = standing.lines
                for line in before:
                    echo(line)

    threading.Thread(target=tell, name="progress", daemon=True).start()  # a daemon thread, since a disk may hang
    try:
        yield
    finally:
        is_over.set()
