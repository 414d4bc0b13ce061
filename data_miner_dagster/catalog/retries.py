"""Retry failed work immediately, at a person's request.

Belongs here: clearing the failures of videos and projects. Does not belong here: automatic retries (attempts.py,
gates.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.holds import CANCELLED, WorkScope, holds_within
from data_miner_dagster.catalog.pending import reindex_videos
from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.videos import retry_videos_in
from data_miner_dagster.catalog.work_tables import AttemptRow, HoldRow, StageGateRow, SuspectRow
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage

_TABLES: Final = (AttemptRow, SuspectRow)


@dataclass(frozen=True, slots=True)
class Retried:
    """The work that a retry has made due, and the holds and closing times that it has ended."""

    videos: tuple[str, ...]  # keys of videos that had failed, were unavailable, or had failed at a stage
    projects: tuple[str, ...]  # names of projects with a failed stage
    num_holds: int
    stages: tuple[WorkStage, ...]  # the stages that waited for the end of an outage

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to retry."""
        return not (self.videos or self.projects or self.num_holds or self.stages)


def retry_work(
    database: Database, scope: WorkScope, *, kinds: Collection[str] | None = None, is_dry_run: bool = False
) -> Retried:
    """Clear failures in a scope, so that the work is due immediately.

    With `kinds`, only failures of these kinds are cleared. Without `kinds`, work that is held because its run was
    cancelled also resumes, and work that a person held resumes if the scope names a video, project or stage. In
    addition, closed stages in the scope may try one batch, unless the scope names a project or videos.

    Returns:
        The work that is retried. With `is_dry_run`, nothing is changed, and this is the work that would be retried.
    """
    with database.transaction() as session:
        retried = _retry(session, scope, kinds)
        if is_dry_run:
            session.rollback()
    return retried


def _retry(session: Session, scope: WorkScope, kinds: Collection[str] | None) -> Retried:
    failed = _failed_items(session, scope, kinds)
    videos: set[str] = set()
    if scope.stage is None or scope.stage in VIDEO_STAGES:
        of_videos = None if kinds is None else {kind for kind in VideoErrorKind if kind.value in kinds}
        videos.update(
            retry_videos_in(
                session, project=scope.project, kinds=of_videos, video_keys=scope.video_keys, stage=scope.stage
            )
        )
        videos.update(item for stage, item in failed if stage in VIDEO_STAGES)
    for stage, item in sorted(failed):
        clear_attempts(session, stage, [item])
    reindex_videos(session, videos)  # videos are always locked before projects (writers.py)
    projects = {item for stage, item in failed if stage not in VIDEO_STAGES}
    if scope.video_keys is None and (kinds is None or projects):
        projects.update(_reset_projects(session, scope, None if kinds is None else projects))
    num_holds, stages = 0, tuple[WorkStage, ...]()
    if kinds is None:
        num_holds = _end_holds(session, scope)
        stages = _open_gates(session, scope)
    return Retried(tuple(sorted(videos)), tuple(sorted(projects)), num_holds, stages)


def _failed_items(session: Session, scope: WorkScope, kinds: Collection[str] | None) -> set[tuple[WorkStage, str]]:
    """Return a (stage, item) pair for each failure or process death of an item in the scope.

    With `kinds`, only failures of these kinds count, and process deaths do not count.
    """
    found: set[tuple[WorkStage, str]] = set()
    for row in _TABLES:
        query = select(row.stage, row.item).distinct()
        if scope.stage is not None:
            query = query.where(row.stage == scope.stage)
        if scope.project is not None:
            query = query.where(or_(row.item == scope.project, row.item.in_(_members(scope.project))))
        if kinds is not None:
            if row is SuspectRow:
                continue
            query = query.where(AttemptRow.kind.in_(kinds))
        if scope.video_keys is None:
            found.update((stage, item) for stage, item in session.execute(query) if item)
        else:
            for some in portions(scope.video_keys):
                found.update((stage, item) for stage, item in session.execute(query.where(row.item.in_(some))))
    return found


def _reset_projects(session: Session, scope: WorkScope, only: Collection[str] | None) -> list[str]:
    """Set the failed projects in a scope back to SOURCING. Return their names, sorted.

    Results that are still current are reused. If `only` is not None, only projects with these names are reset.
    """
    query = select(ProjectRow.name, ProjectRow.error).where(ProjectRow.stage == ProjectStage.FAILED)
    if scope.project is not None:
        query = query.where(ProjectRow.name == scope.project)
    reset = []
    for name, error in session.execute(query.order_by(ProjectRow.name)).all():
        is_meant = scope.stage is None or (error or "").startswith(f"{scope.stage.value.lower()}:")
        if is_meant and (only is None or name in only):
            move_project(session, name, ProjectStage.SOURCING, only_from={ProjectStage.FAILED}, error=None)
            reset.append(name)
    return reset


def _end_holds(session: Session, scope: WorkScope) -> int:
    is_named = scope != WorkScope()
    rows = holds_within(session, scope.project, scope.stage, scope.video_keys)
    ended = [row.id for row in rows if is_named or row.reason == CANCELLED]
    for hold_id in ended:
        session.execute(delete(HoldRow).where(HoldRow.id == hold_id))
    return len(ended)


def _open_gates(session: Session, scope: WorkScope) -> tuple[WorkStage, ...]:
    """Allow stages that are waiting for the end of an outage to try one batch now, and return these stages.

    Nothing is changed if the scope names a project or videos.
    """
    if scope.project is not None or scope.video_keys is not None:
        return ()
    query = select(StageGateRow).order_by(StageGateRow.stage)
    if scope.stage is not None:
        query = query.where(StageGateRow.stage == scope.stage)
    gates = session.scalars(query).all()
    for gate in gates:
        gate.closed_until = gate.closed_at
    return tuple(gate.stage for gate in gates)


def _members(project: str) -> Select[str]:
    return select(ProjectVideoRow.video_key).where(
        ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED
    )
