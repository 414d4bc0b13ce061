"""Choose the videos of a project that a backfill processes, by their state at a stage.

Belongs here: choosing from the catalog. Does not belong here: work that is due automatically (pending.py), and starting
runs.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.catalog.work_tables import AttemptRow, BatchItemRow, HoldRow, PendingWorkRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage


class Standing(StrEnum):
    """The state of a video at a stage."""

    EARLIER = "waits for an earlier stage"
    MISSING = "missing"  # neither done nor failed
    FAILED = "failed"
    STALE = "stale"  # done with different settings, another version or another model
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class FailedVideos:
    """The number of videos that a backfill leaves out because they have failed at `stage`."""

    stage: WorkStage  # the stage at which they failed: the backfill's own, or an earlier one
    num_videos: int
    num_given_up: int  # how many of them are not retried automatically


@dataclass(frozen=True, slots=True)
class BackfillChoice:
    """The videos that a backfill processes, and the number of videos that it leaves out for each reason."""

    video_keys: tuple[str, ...]
    num_failed: int  # how many of `video_keys` have failed at the stage
    num_earlier: int  # videos that are waiting for an earlier stage, at which they have not failed
    num_held: int
    num_in_flight: int
    failed: tuple[FailedVideos, ...] = ()  # in stage order

    @property
    def left_out(self) -> str:
        """A description of the videos that are left out, or "" if no video is left out."""
        counts = {
            "already in progress": self.num_in_flight,
            "held (`data-miner status` shows how to resume)": self.num_held,
            **{f"failed at {some.stage.value.lower()}": some.num_videos for some in self.failed},
            "waiting for an earlier stage": self.num_earlier,
        }
        return ", ".join(f"{count} {why}" for why, count in counts.items() if count)


def choose_for_backfill(
    database: Database,
    stage: WorkStage,
    project: str,
    *,
    standings: Collection[Standing],
    video_keys: Sequence[str] | None = None,
) -> BackfillChoice:
    """Choose the videos of a project that a backfill processes at a video stage.

    Args:
        database: the catalog.
        stage: downloading, extraction or embedding.
        project: the project that wants the videos.
        standings: the states of the videos to process, ignored if `video_keys` is given.
        video_keys: the videos to process, in this order and whatever their standing, or None for all videos in one of
            `standings`. Videos that are held, in flight or waiting for an earlier stage are left out in both cases.
            Videos that the project does not want are ignored.
    """
    rows = {row.key: row for row in find_videos(database, video_keys, project=project)}
    with database.reading() as session:
        records = _records(session, stage, project, list(rows))
    standing_by_key = {key: _standing(stage, row, records) for key, row in rows.items()}
    wanted = [
        key
        for key in (video_keys if video_keys is not None else rows)
        if key in rows and (video_keys is not None or standing_by_key[key] in {*standings, Standing.EARLIER})
    ]
    ready = [key for key in wanted if standing_by_key[key] is not Standing.EARLIER]
    free = [key for key in ready if (stage, key) not in records.in_flight and key not in records.held]
    unready = [rows[key] for key in wanted if standing_by_key[key] is Standing.EARLIER]
    stage_by_key = {row.key: failed_at for row in unready if (failed_at := _failed_at(stage, row, records)) is not None}
    if video_keys is None and Standing.FAILED not in standings:
        failed_here = (key for key, standing in standing_by_key.items() if standing is Standing.FAILED)
        stage_by_key |= {key: stage for key in failed_here if (stage, key) not in records.in_flight}
    return BackfillChoice(
        video_keys=tuple(free),
        num_failed=sum(standing_by_key[key] is Standing.FAILED for key in free),
        num_earlier=sum(row.key not in stage_by_key for row in unready),
        num_held=sum(key in records.held for key in ready if (stage, key) not in records.in_flight),
        num_in_flight=sum((stage, key) in records.in_flight for key in ready),
        failed=_by_stage(stage_by_key, records),
    )


@dataclass(frozen=True, slots=True)
class _Records:
    """The catalog's records of work on videos, mostly as (stage, video key) pairs."""

    pending: Collection[tuple[WorkStage, str]]  # work for the project that is due now or later
    failed: Collection[tuple[WorkStage, str]]
    in_flight: Collection[tuple[WorkStage, str]]
    held: Collection[str]  # keys of the videos that are held individually at the stage of the backfill


def _records(session: Session, stage: WorkStage, project: str, video_keys: Sequence[str]) -> _Records:
    pending = select(PendingWorkRow.stage, PendingWorkRow.video_key).where(PendingWorkRow.project_name == project)
    failed = select(AttemptRow.stage, AttemptRow.item).where(AttemptRow.stage.in_(VIDEO_STAGES)).distinct()
    in_flight = select(BatchItemRow.stage, BatchItemRow.item).where(BatchItemRow.stage.in_(VIDEO_STAGES))
    return _Records(
        pending={(of, key) for of, key in session.execute(pending)},
        failed={(of, key) for of, key in session.execute(failed)},
        in_flight={(of, key) for of, key in session.execute(in_flight)},
        held=_held(session, stage, project, video_keys),
    )


def _failed_at(stage: WorkStage, row: VideoRow, records: _Records) -> WorkStage | None:
    """Return the stage before `stage` at which a video has failed, or None if it has not failed or is being retried."""
    has_file = row.sha256 is not None and row.status is not VideoStatus.UNAVAILABLE
    needed = WorkStage.EXTRACTION if has_file and stage is WorkStage.EMBEDDING else WorkStage.DOWNLOADING
    has_failed = row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE) or (needed, row.key) in records.failed
    return needed if has_failed and (needed, row.key) not in records.in_flight else None


def _by_stage(stage_by_key: Mapping[str, WorkStage], records: _Records) -> tuple[FailedVideos, ...]:
    numbers = Counter(stage_by_key.values())
    given_up = Counter(of for key, of in stage_by_key.items() if (of, key) not in records.pending)
    return tuple(FailedVideos(of, numbers[of], given_up[of]) for of in VIDEO_STAGES if numbers[of])


def _standing(stage: WorkStage, row: VideoRow, records: _Records) -> Standing:
    has_failed = (stage, row.key) in records.failed
    has_file = row.sha256 is not None and row.status is not VideoStatus.UNAVAILABLE
    is_extracted = row.status is VideoStatus.EXTRACTED
    if stage is WorkStage.DOWNLOADING:
        is_ready, is_done = True, has_file
        has_failed = has_failed or (row.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE) and not has_file)
    elif stage is WorkStage.EXTRACTION:
        is_ready, is_done = has_file, is_extracted
        has_failed = has_failed or row.status is VideoStatus.FAILED
    else:
        is_ready, is_done = is_extracted, row.embedding_basis is not None
    if not is_ready:
        return Standing.EARLIER
    if has_failed:
        return Standing.FAILED
    if not is_done:
        return Standing.MISSING
    return Standing.STALE if (stage, row.key) in records.pending else Standing.CURRENT


def _held(session: Session, stage: WorkStage, project: str, video_keys: Sequence[str]) -> set[str]:
    """Return the keys of the videos that are held individually for this project and stage."""
    covers = (
        or_(HoldRow.project.is_(None), HoldRow.project == project),
        or_(HoldRow.stage.is_(None), HoldRow.stage == stage),
    )
    found: set[str] = set()
    for some in portions(video_keys):
        found.update(session.scalars(select(HoldRow.video_key).where(*covers, HoldRow.video_key.in_(some))))
    return found
