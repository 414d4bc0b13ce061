"""Choose the videos of a project that a backfill processes, by their state at a stage.

Belongs here: choosing from the catalog. Does not belong here: work that is due automatically (pending.py), the runs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.catalog.work_tables import AttemptRow, BatchItemRow, HoldRow, PendingWorkRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage


class Standing(StrEnum):
    """The state of a video at a stage."""

    EARLIER = "waits for an earlier stage"
    MISSING = "missing"  # never done
    FAILED = "failed"
    STALE = "stale"  # done with other settings, another version or another model
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class BackfillChoice:
    """The videos that a backfill processes, and the numbers of those that it leaves out."""

    video_keys: tuple[str, ...]
    num_failed: int  # how many of `video_keys` have failed at the stage
    num_earlier: int
    num_held: int
    num_in_flight: int

    @property
    def left_out(self) -> str:
        """A description of the videos that are left out. Empty if there are none."""
        counts = {
            "already in progress": self.num_in_flight,
            "held (`data-miner resume`)": self.num_held,
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
        standings: the states of the videos to process. Ignored if `video_keys` is given.
        video_keys: the videos to process in any state, in this order. None: all videos in one of `standings`.
    """
    rows = {row.key: row for row in find_videos(database, video_keys, project=project)}
    with database.reading() as session:
        is_pending = PendingWorkRow.stage == stage, PendingWorkRow.project_name == project
        pending = set(session.scalars(select(PendingWorkRow.video_key).where(*is_pending)))
        failed = set(session.scalars(select(AttemptRow.item).where(AttemptRow.stage == stage).distinct()))
        in_flight = set(session.scalars(select(BatchItemRow.item).where(BatchItemRow.stage == stage)))
        held = _held(session, stage, project, list(rows))
    standing_by_key = {
        key: _standing(stage, row, is_pending=key in pending, has_failed=key in failed) for key, row in rows.items()
    }
    wanted = [
        key
        for key in (video_keys if video_keys is not None else rows)
        if key in rows and (video_keys is not None or standing_by_key[key] in {*standings, Standing.EARLIER})
    ]
    ready = [key for key in wanted if standing_by_key[key] is not Standing.EARLIER]
    free = [key for key in ready if key not in in_flight and key not in held]
    return BackfillChoice(
        video_keys=tuple(free),
        num_failed=sum(standing_by_key[key] is Standing.FAILED for key in free),
        num_earlier=len(wanted) - len(ready),
        num_held=sum(key in held for key in ready if key not in in_flight),
        num_in_flight=sum(key in in_flight for key in ready),
    )


def _standing(stage: WorkStage, row: VideoRow, *, is_pending: bool, has_failed: bool) -> Standing:
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
    return Standing.STALE if is_pending else Standing.CURRENT


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
