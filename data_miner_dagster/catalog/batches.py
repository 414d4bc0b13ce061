"""Batches: the few videos, or the one project, that one run processes at a stage. Projects take turns.

Belongs here: choosing and ending batches, and the items in flight. Does not belong here: pending work (pending.py),
outages of a stage (gates.py), work that a person has stopped (holds.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, TypedDict, Unpack, cast
from zlib import crc32

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.charges import charge_run
from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.deaths import charge_death, is_suspect, note_progress, suspects_to_try
from data_miner_dagster.catalog.gates import begin_probe, gate_of, may_probe
from data_miner_dagster.catalog.holds import is_stage_held, is_work_held
from data_miner_dagster.catalog.schema import ProjectRow, VideoRow
from data_miner_dagster.catalog.work_tables import (
    BatchItemRow,
    PendingWorkRow,
    ProjectTurnRow,
    StageGateRow,
    WorkBatchRow,
)
from data_miner_dagster.catalog.writers import insert_into
from data_miner_dagster.domain.work import VIDEO_STAGES, Failure, WorkStage

MAX_ITEMS: Final = 25
"""The default maximum number of videos in a batch, and therefore of videos that a dead run leaves unfinished."""

MAX_FRAMES: Final = 5000
"""The maximum number of frames in an embedding batch of several videos, so that no run receives several long videos."""

WAIT_SECONDS: Final = 60
"""The default time in seconds that an incomplete batch waits for more videos after its oldest video became ready."""

_PENDING: Final = cast("Table", PendingWorkRow.__table__)
_BATCHES: Final = cast("Table", WorkBatchRow.__table__)
_ITEMS: Final = cast("Table", BatchItemRow.__table__)
_TURNS: Final = cast("Table", ProjectTurnRow.__table__)
_GATES: Final = cast("Table", StageGateRow.__table__)

_TAKING: Final = 0x646D_7462  # "dmtb": with the stage's number, the key of the advisory lock for choosing a batch


@dataclass(frozen=True, slots=True)
class Batch:
    """The items that one run processes at one stage: video keys, or a project's name."""

    id: int
    stage: WorkStage
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that has not ended."""

    id: int
    stage: WorkStage
    size: int
    created_at: datetime
    run_id: str | None  # None until it is known which run processes the batch
    reason: str | None  # why the batch is about to end, or None if that is not known


class BatchWishes(TypedDict, total=False):
    """Optional arguments of `take_batch`."""

    max_items: int  # maximum number of videos
    project: str | None  # only work for this project, or None for work for any project
    keys: Collection[str] | None  # only these videos, or None for any video
    now: datetime | None  # the current time, or None for the time on the database's clock
    must_be_full_until_seconds: float  # seconds that an incomplete batch waits for more videos (0 means no wait)


@dataclass(frozen=True, slots=True)
class _Wish:
    stage: WorkStage
    max_items: int = MAX_ITEMS
    project: str | None = None
    keys: Collection[str] | None = None
    now: datetime | None = None
    must_be_full_until_seconds: float = WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class _Ready:
    """A row of pending work that the next batch may contain."""

    video_key: str
    project: str
    ready_since: datetime


@dataclass(frozen=True, slots=True)
class _Choice:
    """The contents of the next batch."""

    items: tuple[str, ...]
    projects: tuple[str, ...]  # the projects whose turns it uses, or () if the items are suspects or a project
    is_probe: bool  # whether it tests a stage whose gate is closed


def take_batch(database: Database, stage: WorkStage, **wishes: Unpack[BatchWishes]) -> Batch | None:
    """Take the next videos at a stage as a batch for a run. Return None if no batch may be taken now.

    The videos are due, and neither held nor in flight. Projects take turns: the one that was served longest ago comes
    first. A batch is taken when it is full, when its oldest video has waited for a minute (or for
    `must_be_full_until_seconds`), or when no open earlier stage is about to deliver more videos. Videos whose last
    batch died are never mixed with others. They are taken first, or last if the batch probes a closed stage.
    """
    wish = _Wish(stage, **wishes)
    with database.reading() as session:  # usually no video is available, and finding that out needs no lock
        if _choose(session, wish, wish.now or database.now(session)) is None:
            return None
    with database.transaction() as session:
        _take_turns(session, stage)
        now = wish.now or database.now(session)
        choice = _choose(session, wish, now)
        return None if choice is None else _store(session, stage, choice, now)


def take_project_batch(
    database: Database, stage: WorkStage, project: str, *, now: datetime | None = None
) -> Batch | None:
    """Take a project as a batch for a run. Return None if it is in flight or held, or the stage may not be used now."""
    with database.transaction() as session:
        _take_turns(session, stage)
        present = now or database.now(session)
        gate = _gate(session, stage, present)
        is_busy = exists().where(_ITEMS.c.stage == stage, _ITEMS.c.item == project)
        if gate is None or session.scalar(select(or_(is_busy, is_stage_held(project, stage)))):
            return None
        return _store(session, stage, _Choice((project,), (), gate), present)


def set_run(database: Database, batch_id: int, run_id: str) -> None:
    """Record which run processes a batch."""
    with database.transaction() as session:
        session.execute(update(_BATCHES).where(_BATCHES.c.id == batch_id).values(run_id=run_id))


def end_batch(
    database: Database,
    batch_id: int,
    reason: str,
    *,
    died: bool = False,
    failure: Failure | None = None,
    done: Collection[str] = (),
) -> tuple[str, ...]:
    """End a batch and free its items. Nothing is changed if the batch has already ended.

    Args:
        database: the catalog.
        batch_id: the id of the batch.
        reason: how the batch ended, on one human-readable line.
        died: True if the batch's process died for an unknown reason. Unless an outage is blamed, the unfinished items
            become suspects, which are retried in smaller batches, apart from other videos.
        failure: the failure to charge to the item, batch or stage that it concerns, or None. `died` takes precedence.
        done: items that are finished, or whose own failure is stored. Videos that are no longer due need not be listed.

    Returns:
        The unfinished items, sorted, except videos that are no longer due; or () if the batch had already ended.
    """
    with database.transaction() as session:
        now = database.now(session)
        is_open = _BATCHES.c.id == batch_id, _BATCHES.c.ended_at.is_(None)
        ended = update(_BATCHES).where(*is_open).values(ended_at=now, reason=reason)
        stage = session.scalar(ended.returning(_BATCHES.c.stage))
        if stage is None:
            return ()
        items = session.scalars(select(_ITEMS.c.item).where(_ITEMS.c.batch_id == batch_id)).all()
        undone = tuple(sorted(set(items) - set(done)))
        if stage in VIDEO_STAGES:
            is_due = _PENDING.c.stage == stage, _PENDING.c.due_at <= now
            due = session.scalars(select(_PENDING.c.video_key).where(*is_due, _PENDING.c.video_key.in_(undone)))
            undone = tuple(sorted(set(due)))
        if died:
            charge_death(session, batch_id, undone)
        elif failure is not None:
            charge_run(session, stage, failure, undone, batch_id)
        elif len(undone) < len(items):
            note_progress(session, batch_id)
        if stage not in VIDEO_STAGES:  # the code that processes videos clears their attempts itself
            clear_attempts(session, stage, set(items) - set(undone))
        session.execute(delete(_ITEMS).where(_ITEMS.c.batch_id == batch_id))
        return undone


def open_batches(database: Database) -> list[OpenBatch]:
    """Return the batches that have not ended, oldest first."""
    columns = [_BATCHES.c[name] for name in ("id", "stage", "size", "created_at", "run_id", "reason")]
    with database.reading() as session:
        rows = session.execute(select(*columns).where(_BATCHES.c.ended_at.is_(None)).order_by(_BATCHES.c.id))
        return [OpenBatch(*row) for row in rows]


def items_of(database: Database, batch_id: int) -> list[str]:
    """Return the items of an open batch, sorted, or an empty list if the batch has ended."""
    with database.reading() as session:
        return sorted(session.scalars(select(_ITEMS.c.item).where(_ITEMS.c.batch_id == batch_id)))


def batch_of(session: Session, stage: WorkStage, item: str) -> int | None:
    """Return the id of the open batch that contains an item at a stage, or None if the item is not in flight."""
    query = select(_ITEMS.c.batch_id).where(_ITEMS.c.stage == stage, _ITEMS.c.item == item)
    found: int | None = session.scalar(query)
    return found


def is_any_takeable(database: Database, project: str) -> bool:
    """Return whether any video of a project is due at any stage and is neither held nor in flight."""
    with database.reading() as session:
        now = database.now(session)
        return any(
            _rows_of(session, _Wish(stage), project, now, 1) or suspects_to_try(session, stage, project=project)
            for stage in VIDEO_STAGES
        )


def free_videos(session: Session, video_keys: Collection[str]) -> None:
    """Take videos out of their batches, because the videos are being deleted."""
    for some in portions(video_keys):
        session.execute(delete(_ITEMS).where(_ITEMS.c.stage.in_(VIDEO_STAGES), _ITEMS.c.item.in_(some)))


def free_project(session: Session, project: str) -> None:
    """Take a project out of its batches, because the project is being deleted."""
    session.execute(delete(_ITEMS).where(_ITEMS.c.stage.not_in(VIDEO_STAGES), _ITEMS.c.item == project))


def _take_turns(session: Session, stage: WorkStage) -> None:
    """Prevent other processes from choosing a batch at a stage until this transaction ends. SQLite always does this."""
    if session.get_bind().dialect.name == "postgresql":
        numbers = {"taking": _TAKING, "stage": list(WorkStage).index(stage)}
        session.execute(text("SELECT pg_advisory_xact_lock(:taking, :stage)"), numbers)


def _gate(session: Session, stage: WorkStage, now: datetime) -> bool | None:
    """Return False if a stage is open, True if it is closed but may be probed, and None if it must not be used."""
    if may_probe(session, stage, now):
        return True
    return False if gate_of(session, stage) is None else None


def _choose(session: Session, wish: _Wish, now: datetime) -> _Choice | None:
    is_probe = _gate(session, wish.stage, now)
    if is_probe is None:
        return None
    if not is_probe and (suspects := _suspects(session, wish, is_probe=False)):
        return _Choice(suspects, (), is_probe)
    projects = _due_projects(session, wish, now)
    rows = _rows_in_turn(session, wish, now, projects)
    if not rows:
        suspects = _suspects(session, wish, is_probe=True) if is_probe else ()
        return _Choice(suspects, (), is_probe) if suspects else None
    items = tuple(dict.fromkeys(row.video_key for row in rows))
    fitting = _within_frames(session, items) if wish.stage is WorkStage.EMBEDDING and wish.keys is None else items
    is_full = len(items) >= wish.max_items or len(fitting) < len(items)
    items, rows = fitting, [row for row in rows if row.video_key in fitting]
    has_waited = min(row.ready_since for row in rows) <= now - timedelta(seconds=wish.must_be_full_until_seconds)
    if not is_full and not has_waited and _is_more_on_its_way(session, wish.stage, projects, now):
        return None
    return _Choice(items, tuple(sorted({row.project for row in rows})), is_probe)


def _suspects(session: Session, wish: _Wish, *, is_probe: bool) -> tuple[str, ...]:
    suspects = suspects_to_try(session, wish.stage, is_probe=is_probe, project=wish.project)
    return tuple(key for key in suspects if wish.keys is None or key in wish.keys)[: wish.max_items]


def _is_due(stage: WorkStage, project: Any, now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that any of a project's work at a stage is due."""
    # Compares the earliest due time instead of using EXISTS, for which PostgreSQL may choose to read all rows.
    of_project = _PENDING.c.stage == stage, _PENDING.c.project_name == project
    return select(func.min(_PENDING.c.due_at)).where(*of_project).scalar_subquery() <= now


def _due_projects(session: Session, wish: _Wish, now: datetime) -> list[str]:
    """Return the names of the projects for which a stage has due work and is not held, least recently served first."""
    turn = and_(_TURNS.c.project_name == ProjectRow.name, _TURNS.c.stage == wish.stage)
    query = (
        select(ProjectRow.name)
        .outerjoin(_TURNS, turn)
        .where(_is_due(wish.stage, ProjectRow.name, now), ~is_stage_held(ProjectRow.name, wish.stage))
        .order_by(func.coalesce(_TURNS.c.batch_id, 0), ProjectRow.name)
    )
    if wish.project is not None:
        query = query.where(ProjectRow.name == wish.project)
    return list(session.scalars(query))


def _rows_in_turn(session: Session, wish: _Wish, now: datetime, projects: Sequence[str]) -> list[_Ready]:
    """Return one row per video, for at most `max_items` videos, taken from the projects in turn."""
    taken: dict[str, _Ready] = {}
    quota = -(-wish.max_items // max(1, len(projects)))
    for limit in dict.fromkeys((quota, wish.max_items)):  # the second pass distributes what some projects did not use
        for project in projects:
            for row in _rows_of(session, wish, project, now, limit) if len(taken) < wish.max_items else ():
                if len(taken) < wish.max_items:
                    taken.setdefault(row.video_key, row)
    return list(taken.values())


def _within_frames(session: Session, video_keys: Sequence[str]) -> tuple[str, ...]:
    """Return the longest prefix of `video_keys` with at most `MAX_FRAMES` frames in total, but at least one key."""
    query = select(VideoRow.key, VideoRow.num_frames).where(VideoRow.key.in_(video_keys))
    num_frames = {key: number or 0 for key, number in session.execute(query)}
    totals = accumulate(num_frames.get(key, 0) for key in video_keys)
    fitting = tuple(key for key, total in zip(video_keys, totals, strict=True) if total <= MAX_FRAMES)
    return fitting or tuple(video_keys[:1])


@lru_cache
def _ready_rows() -> Select[Any]:
    """Return the query for a project's due rows at a stage, by due time, except those in flight, held or suspected."""
    in_flight = exists().where(_ITEMS.c.stage == _PENDING.c.stage, _ITEMS.c.item == _PENDING.c.video_key)
    suspected = is_suspect(_PENDING.c.stage, _PENDING.c.video_key)
    return (
        select(_PENDING.c.video_key, _PENDING.c.since, _PENDING.c.due_at)
        .where(
            _PENDING.c.stage == bindparam("of_stage"),
            _PENDING.c.project_name == bindparam("of_project"),
            _PENDING.c.due_at <= bindparam("now"),
        )
        .where(~in_flight, ~suspected, ~is_work_held())
        .order_by(_PENDING.c.due_at)  # no second column: sorting rows with equal times would mean reading them all
        .limit(bindparam("most", type_=Integer()))
    )


def _rows_of(session: Session, wish: _Wish, project: str, now: datetime, limit: int) -> list[_Ready]:
    # Downloads are mixed rather than sorted by name: files with similar names may share a defect, and a batch of them
    # would look as if the site refused everything.
    mixed = 8 if wish.stage is WorkStage.DOWNLOADING and wish.keys is None else 1
    parameters = {"of_stage": wish.stage, "of_project": project, "now": now, "most": limit * mixed}
    rows: list[_Ready] = []
    for some in [None] if wish.keys is None else portions(wish.keys):
        query = _ready_rows() if some is None else _ready_rows().where(_PENDING.c.video_key.in_(some))
        found = list(session.execute(query, parameters))
        if mixed > 1:
            found.sort(key=lambda row: (row.due_at, crc32(row.video_key.encode())))
        rows += [_Ready(row.video_key, project, max(row.since, row.due_at)) for row in found]
    return rows[:limit]


def _is_more_on_its_way(session: Session, stage: WorkStage, projects: Sequence[str], now: datetime) -> bool:
    """Return whether one of `projects` has due work at an open earlier stage or, for downloading, sources to list."""
    if stage is WorkStage.DOWNLOADING:
        is_listed = ProjectRow.sourced_config_hash.is_not_distinct_from(ProjectRow.config_hash)
        in_flight = exists().where(_ITEMS.c.stage == WorkStage.SOURCING, _ITEMS.c.item == ProjectRow.name)
        query = select(ProjectRow.name).where(or_(~is_listed, in_flight), ProjectRow.name.in_(projects))
        return session.execute(query.limit(1)).first() is not None
    closed = session.scalars(select(_GATES.c.stage).where(_GATES.c.closed_until > now)).all()
    earlier = [each for each in VIDEO_STAGES[: VIDEO_STAGES.index(stage)] if each not in closed]
    if not earlier:
        return False
    is_due = or_(*(_is_due(each, ProjectRow.name, now) for each in reversed(earlier)))
    query = select(ProjectRow.name).where(ProjectRow.name.in_(projects), is_due)
    return session.execute(query.limit(1)).first() is not None


def _store(session: Session, stage: WorkStage, choice: _Choice, now: datetime) -> Batch:
    values = {"stage": stage, "size": len(choice.items), "created_at": now}
    batch_id: int = session.execute(insert(_BATCHES).values(values).returning(_BATCHES.c.id)).scalar_one()
    session.execute(insert(_ITEMS), [{"stage": stage, "item": item, "batch_id": batch_id} for item in choice.items])
    if choice.is_probe:
        begin_probe(session, stage, batch_id)
    if choice.projects:
        turns = insert_into(_TURNS, session.get_bind().dialect.name)
        served = turns.on_conflict_do_update(
            index_elements=[_TURNS.c.stage, _TURNS.c.project_name], set_={"batch_id": turns.excluded.batch_id}
        )
        rows = [{"stage": stage, "project_name": name, "batch_id": batch_id} for name in choice.projects]
        session.execute(served, rows)
    return Batch(batch_id, stage, choice.items)
