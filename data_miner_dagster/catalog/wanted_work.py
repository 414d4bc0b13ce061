"""The statements that update `pending_work`, built once per process, since every video needs them several times.

Belongs here: SQL that derives pending work. Does not belong here: executing it (pending.py).
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
)

from data_miner_dagster.catalog.schema import ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.work_tables import AttemptRow, PendingWorkRow, WorkBasisRow
from data_miner_dagster.catalog.writers import insert_into
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, FailureKind, WorkStage

if TYPE_CHECKING:
    from data_miner_dagster.catalog.writers import Insert

BASIS_LENGTH: Final = 32
"""The length of a fingerprint. The basis of extraction joins two: one for videos, and one for folders of pictures."""

_VIDEOS: Final = cast("Table", VideoRow.__table__)
_MEMBERS: Final = cast("Table", ProjectVideoRow.__table__)
_PENDING: Final = cast("Table", PendingWorkRow.__table__)
_BASES: Final = cast("Table", WorkBasisRow.__table__)
_ATTEMPTS: Final = cast("Table", AttemptRow.__table__)
_TIME_TYPE: Final = _PENDING.c.due_at.type


def _constant(value: str | int) -> ColumnElement[Any]:
    """Return a constant word or number as an SQL literal, since passing it as a parameter would take longer."""
    return literal_column(f"'{value}'" if isinstance(value, str) else str(value))


def _is_one_of(column: ColumnElement[Any], words: Iterable[str]) -> ColumnElement[bool]:
    return column.in_([_constant(str(word)) for word in words])


def _basis_in_force(stage: WorkStage) -> ColumnElement[str | None]:
    return select(_BASES.c.basis).where(_BASES.c.stage == _constant(stage.value)).scalar_subquery()


def _wanted_frames_basis() -> ColumnElement[str | None]:
    wanted = _basis_in_force(WorkStage.EXTRACTION)
    prefix = func.substr(_VIDEOS.c.key, _constant(1), _constant(len(FRAMES_PREFIX)))
    return case(
        (prefix == _constant(FRAMES_PREFIX), func.substr(wanted, _constant(BASIS_LENGTH + 1))),
        else_=func.substr(wanted, _constant(1), _constant(BASIS_LENGTH)),
    )


def _has_stale_frames() -> ColumnElement[bool]:
    is_known = exists().where(_BASES.c.stage == _constant(WorkStage.EXTRACTION.value))
    return and_(is_known, _VIDEOS.c.frames_basis.is_distinct_from(_wanted_frames_basis()))


def _has_stale_embeddings() -> ColumnElement[bool]:
    wanted = _basis_in_force(WorkStage.EMBEDDING)
    return or_(_VIDEOS.c.embedding_basis.is_(None), _VIDEOS.c.embedding_basis != wanted)


def _stage_of_video() -> ColumnElement[WorkStage | None]:
    """Return the SQL expression for the stage that a video needs next, which is NULL if the video needs none."""
    status = _VIDEOS.c.status
    has_file = _VIDEOS.c.sha256.is_not(None)
    downloading, extraction, embedding = (_constant(stage.value) for stage in VIDEO_STAGES)
    return case(
        (_is_one_of(status, [VideoStatus.PENDING, VideoStatus.DOWNLOADING]), downloading),
        (_is_one_of(status, [VideoStatus.DOWNLOADED, VideoStatus.EXTRACTING]), extraction),
        # A video that failed after its download is not downloaded again.
        (and_(status == _constant(VideoStatus.FAILED.value), has_file), extraction),
        (status != _constant(VideoStatus.EXTRACTED.value), downloading),
        (_has_stale_frames(), extraction),
        (_has_stale_embeddings(), embedding),
    )


_LAST: Final = _ATTEMPTS.alias("last_attempts")


def _is_last_failure() -> ColumnElement[bool]:
    """Return the SQL condition that an attempt is a video's last failure at the stage that it needs next."""
    others = select(func.max(_ATTEMPTS.c.id)).where(
        _ATTEMPTS.c.stage == _stage_of_video(), _ATTEMPTS.c.item == _VIDEOS.c.key
    )
    return _LAST.c.id == others.correlate(_VIDEOS).scalar_subquery()


def _failure_counts() -> ColumnElement[bool]:
    """Return the SQL condition that a video's last failure exists and still counts.

    A failure counts until its inputs change. A fault of this program also ceases to count when the version changes.
    """
    kinds_of_program = [kind.value for kind in FailureKind if kind.is_of_program]
    wanted = case(
        (_LAST.c.stage == _constant(WorkStage.EXTRACTION.value), _wanted_frames_basis()),
        (_LAST.c.stage == _constant(WorkStage.EMBEDDING.value), _basis_in_force(WorkStage.EMBEDDING)),
    )
    is_of_other_inputs = _LAST.c.basis != wanted
    is_of_other_version = and_(_is_one_of(_LAST.c.kind, kinds_of_program), _LAST.c.version != bindparam("version"))
    return and_(_LAST.c.id.is_not(None), ~func.coalesce(is_of_other_inputs, false()), ~is_of_other_version)


def _due_at_of_video(now: ColumnElement[datetime]) -> ColumnElement[datetime | None]:
    """Return the SQL expression for a video's due time, which is NULL if the video waits for a person or for a change.

    For a failed video, its own row decides, as in `due_at` in videos.py. For any other video, the last failed attempt
    decides, if there is one and it still counts (see `_failure_counts`). Such a video was in a run that failed for a
    reason not specific to it. Otherwise, the video is due at its retry time, or now.
    """
    kind, date = _VIDEOS.c.error_kind, _VIDEOS.c.retry_after
    is_of_another_version = and_(
        kind == _constant(VideoErrorKind.INTERNAL_ERROR.value),
        _VIDEOS.c.internal_error_version.is_distinct_from(bindparam("version")),
    )
    passing = [each.value for each in VideoErrorKind if each.is_transient]
    has_no_date = and_(date.is_(None), _is_one_of(kind, passing))
    has_failed = _is_one_of(_VIDEOS.c.status, [VideoStatus.FAILED, VideoStatus.UNAVAILABLE])
    return case(
        (and_(has_failed, or_(is_of_another_version, has_no_date)), now),
        (has_failed, date),
        (_failure_counts(), _LAST.c.due_at),
        else_=func.coalesce(date, now),
    )


def _now(dialect: str) -> ColumnElement[datetime]:
    """Return the SQL expression for the current time: the server's clock, or on SQLite the parameter `now`."""
    return func.now() if dialect == "postgresql" else bindparam("now", type_=_TIME_TYPE)


def _wanted_rows(now: ColumnElement[datetime], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query for (stage, project name, video key, due time) rows of videos that meet `conditions`.

    Each video that needs a stage has a row for each project that wants it. A NULL time means that the video waits for a
    person or for a change.
    """
    stage, due_at = _stage_of_video().label("stage"), _due_at_of_video(now).label("due_at")
    of_videos = (
        select(stage, _MEMBERS.c.project_name, _MEMBERS.c.video_key, due_at)
        .join_from(_VIDEOS, _MEMBERS, _MEMBERS.c.video_key == _VIDEOS.c.key)
        .outerjoin(_LAST, _is_last_failure())
        .where(_MEMBERS.c.status != _constant(ProjectVideoStatus.REJECTED.value), *conditions)
        .subquery()
    )
    return select(of_videos).where(of_videos.c.stage.is_not(None))


Scope = Literal["one", "some", "all"]
"""The videos that a statement applies to: one (parameter `of_key`), some (parameter `keys`) or all."""


def _conditions(scope: Scope, column: ColumnElement[str]) -> list[ColumnElement[bool]]:
    match scope:
        case "one":
            return [column == bindparam("of_key")]
        case "some":
            return [column.in_(bindparam("keys", expanding=True))]
        case "all":
            return []


@lru_cache
def delete_statement(scope: Scope, dialect: str) -> Delete:
    """Return the statement that deletes rows that are no longer pending.

    Its parameters are `version`, `now` (only on SQLite), and `of_key` or `keys` if the scope requires one.
    """
    wanted = _wanted_rows(_now(dialect), *_conditions(scope, _VIDEOS.c.key)).subquery()
    is_wanted = exists().where(
        wanted.c.due_at.is_not(None),
        wanted.c.stage == _PENDING.c.stage,
        wanted.c.project_name == _PENDING.c.project_name,
        wanted.c.video_key == _PENDING.c.video_key,
    )
    return delete(_PENDING).where(*_conditions(scope, _PENDING.c.video_key), ~is_wanted)


@lru_cache
def upsert_statement(scope: Scope, dialect: str) -> "Insert":
    """Return the statement that inserts missing rows and updates due times, with the parameters of `delete_statement`.

    An existing row keeps `since`. It also keeps its due time if it was due before and still is.
    """
    now = _now(dialect)
    wanted = _wanted_rows(now, *_conditions(scope, _VIDEOS.c.key)).subquery()
    rows = select(wanted, now.label("since")).where(wanted.c.due_at.is_not(None))
    columns = ["stage", "project_name", "video_key", "due_at", "since"]
    statement = insert_into(_PENDING, dialect).from_select(columns, rows)
    dates = statement.excluded.due_at, _PENDING.c.due_at
    return statement.on_conflict_do_update(
        index_elements=[_PENDING.c.stage, _PENDING.c.project_name, _PENDING.c.video_key],
        set_={"due_at": dates[0]},
        where=and_(dates[0] != dates[1], or_(dates[0] > now, dates[1] > now)),
    )
