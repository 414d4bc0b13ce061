"""Projects: their stored configurations, their progress, and the records of their builds.

Belongs here: rows of projects. Does not belong here: changing a project's stage (transitions.py), its videos
(members.py).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import delete, func, outerjoin, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from data_miner_dagster.catalog.attempts import forget_items
from data_miner_dagster.catalog.batches import free_project
from data_miner_dagster.catalog.database import Database, now_of
from data_miner_dagster.catalog.holds import delete_holds_of_project
from data_miner_dagster.catalog.measurements import PROJECT_STAGES, forget_spent
from data_miner_dagster.catalog.schema import (
    ProjectRow,
    ProjectVideoRow,
    VideoRow,
    utc_now,
)
from data_miner_dagster.catalog.writers import insert_absent, lock_videos
from data_miner_dagster.domain.backoff import backoff_seconds
from data_miner_dagster.domain.statuses import (
    SETTLED_STATUSES,
    ProjectStage,
    ProjectVideoStatus,
    VideoStatus,
)

_LOOKS_AGAIN: Final = "looks again"
"""Stored in place of a project's input fingerprint, to rebuild the project even if its inputs have not changed."""
_IS_COMPLETE: Final = ProjectRow.stage == ProjectStage.COMPLETE


def save_snapshot(
    database: Database, name: str, config: Mapping[str, object], config_hash: str, config_file: str | None
) -> bool:
    """Insert or update a project's stored configuration. Return True if the project is new or its settings changed.

    The path of the project file counts as a setting. Fields that a later version adds with their default values do not
    count as a change.
    """
    with database.transaction() as session:
        first = {
            "name": name,
            "config": dict(config),
            "config_hash": config_hash,
            "config_file": config_file,
            "stage": ProjectStage.SOURCING,
            "counts": {},
        }
        while (row := session.get(ProjectRow, name, with_for_update=True)) is None:
            if insert_absent(session, ProjectRow, [first], returning="name"):
                return True
        is_changed = (row.config_hash, row.config_file) != (config_hash, config_file)
        if not is_changed and row.config == dict(config):
            return False  # an earlier version may have stored fewer fields for the same settings
        row.config, row.config_hash, row.config_file = dict(config), config_hash, config_file
        flag_modified(row, "config")  # mappings that differ only in order compare equal, but order matters here
        return is_changed


def find_project(database: Database, name: str) -> ProjectRow | None:
    """Return the project with this name, or None if it does not exist."""
    with database.reading() as session:
        return session.get(ProjectRow, name)


def find_projects(database: Database) -> list[ProjectRow]:
    """Return all projects, sorted by name."""
    with database.reading() as session:
        return list(session.scalars(select(ProjectRow).order_by(ProjectRow.name)))


def update_project(database: Database, name: str, **values: Any) -> None:
    """Set columns of a project other than `stage`, which only catalog/transitions.py changes."""
    with database.transaction() as session:
        row = session.get_one(ProjectRow, name)
        for column, value in values.items():
            setattr(row, column, value)


def date_next_look(database: Database, name: str, *, num_left_out: int) -> None:
    """Record when a project will retry the `num_left_out` items that its build left out. If it is 0, clear the time.

    The wait is the same as after a failure. It grows with every consecutive build that leaves something out.
    """
    with database.transaction() as session:
        row = session.get_one(ProjectRow, name, with_for_update=True)
        row.num_left_out_builds = row.num_left_out_builds + 1 if num_left_out else 0
        wait = timedelta(seconds=backoff_seconds(row.num_left_out_builds))
        row.look_again_at = now_of(session) + wait if num_left_out else None


def ask_for_looks(database: Database) -> list[str]:
    """Request a build of each complete project whose next retry is due, and return the projects' names."""
    with database.reading() as session:
        is_due = ProjectRow.look_again_at <= now_of(session)
        names = list(session.scalars(select(ProjectRow.name).where(is_due, _IS_COMPLETE).order_by(ProjectRow.name)))
    for name in names:
        with database.transaction() as session:
            row = session.get(ProjectRow, name, with_for_update=True)
            if row is not None and row.stage is ProjectStage.COMPLETE:
                row.built_basis, row.look_again_at = _LOOKS_AGAIN, None
    return names


def mark_sourced(session: Session, name: str, config_hash: str) -> None:
    """Record that a project's sources have been listed with a given configuration."""
    row = session.get_one(ProjectRow, name)
    row.sourced_config_hash, row.sourced_at = config_hash, utc_now()
    session.flush()


@dataclass(frozen=True, slots=True)
class ProjectProgress:
    """The progress of a project's videos. Only videos that pass the project's rules count as members."""

    name: str
    stage: ProjectStage
    is_sourced: bool  # whether its sources have been listed with the current configuration
    num_members: int
    num_rejected: int
    num_settled: int  # members that are EXTRACTED, FAILED or UNAVAILABLE
    num_extracted: int


def project_progress(database: Database) -> list[ProjectProgress]:
    """Return the progress of every project, sorted by name."""
    of_membership = ProjectVideoRow.project_name, ProjectVideoRow.status == ProjectVideoStatus.REJECTED, VideoRow.status
    # An outer join, so that SQLite scans the videos once, instead of looking up the video of each membership.
    of_videos = outerjoin(VideoRow, ProjectVideoRow, ProjectVideoRow.video_key == VideoRow.key)
    counting = select(*of_membership, func.count()).select_from(of_videos).group_by(*of_membership)
    rejected: Counter[str] = Counter()
    wanted: defaultdict[str, Counter[VideoStatus]] = defaultdict(Counter)
    with database.reading() as session:
        projects = list(session.scalars(select(ProjectRow).order_by(ProjectRow.name)))
        for project, is_rejected, status, number in session.execute(counting):
            if is_rejected:
                rejected[project] += number
            else:
                wanted[project][status] += number
    return [
        ProjectProgress(
            row.name,
            row.stage,
            is_sourced=row.sourced_config_hash == row.config_hash,
            num_members=wanted[row.name].total(),
            num_rejected=rejected[row.name],
            num_settled=sum(wanted[row.name][status] for status in SETTLED_STATUSES),
            num_extracted=wanted[row.name][VideoStatus.EXTRACTED],
        )
        for row in projects
    ]


def delete_project(database: Database, name: str) -> bool:
    """Delete a project with its memberships, holds, failures and measurements.

    Its videos, releases, verdicts, splits and generations are kept.

    Returns:
        False if the project does not exist.
    """
    with database.transaction() as session:
        row = session.get(ProjectRow, name)
        if row is None:
            return False
        members = select(ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == name)
        lock_videos(session, set(session.scalars(members)))
        delete_holds_of_project(session, name)
        forget_items(session, [name])
        free_project(session, name)
        forget_spent(session, [name], PROJECT_STAGES)
        session.execute(delete(ProjectRow).where(ProjectRow.name == name))  # ON DELETE CASCADE removes the memberships
        return True
