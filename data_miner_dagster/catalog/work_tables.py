"""The tables of planned work: pending, running, held, failed and sharded work, its measured cost, and alerts."""

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Enum, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from data_miner_dagster.catalog.schema import Base, UtcDateTime
from data_miner_dagster.domain.alerts import AlertKind
from data_miner_dagster.domain.keys import MAX_KEY_LENGTH
from data_miner_dagster.domain.work import FailureScope, WorkStage

__all__ = [
    "AlertMessageRow",
    "AlertRow",
    "AttemptRow",
    "Base",
    "BatchItemRow",
    "HoldRow",
    "MeasurementRow",
    "PendingWorkRow",
    "ProjectTurnRow",
    "RunLeaseRow",
    "ShardPlanRow",
    "ShardRow",
    "StageGateRow",
    "SuspectRow",
    "WorkBasisRow",
    "WorkBatchRow",
]

_STAGE: Final = Enum(WorkStage, native_enum=False, length=32)


class RunLeaseRow(Base):
    """The lease of a Dagster run. The process that executes the run renews it, so it expires if the process dies."""

    __tablename__ = "run_leases"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    process_started: Mapped[str] = mapped_column(String(64))
    job: Mapped[str] = mapped_column(String(255))
    project: Mapped[str | None] = mapped_column(String(100))
    num_done: Mapped[int] = mapped_column(default=0)
    num_total: Mapped[int | None]
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when `num_total` is expected to be reached
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    progress_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PendingWorkRow(Base):
    """A video that a stage still has to process, for one of the projects that want it."""

    __tablename__ = "pending_work"
    __table_args__ = (
        Index(None, "stage", "project_name", "due_at"),
        Index(None, "project_name", "due_at"),
        Index(None, "video_key"),
    )

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"), primary_key=True)
    video_key: Mapped[str] = mapped_column(ForeignKey("videos.key", ondelete="CASCADE"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    since: Mapped[datetime] = mapped_column(UtcDateTime)


class WorkBatchRow(Base):
    """Items of one stage that are assigned to one run. The id is never reused, so a run request can name it."""

    __tablename__ = "work_batches"
    __table_args__ = (Index(None, "ended_at"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[WorkStage] = mapped_column(_STAGE)
    run_id: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(Text)  # how it ended, or why it is about to end


class BatchItemRow(Base):
    """An item in flight. A video or project is in at most one open batch of a stage."""

    __tablename__ = "batch_items"
    __table_args__ = (Index(None, "batch_id"),)

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    item: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)  # video key or project name
    batch_id: Mapped[int] = mapped_column(ForeignKey("work_batches.id", ondelete="CASCADE"))


class ProjectTurnRow(Base):
    """A project's last batch at a stage. The project whose last batch is the oldest comes next."""

    __tablename__ = "project_turns"

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"), primary_key=True)
    batch_id: Mapped[int]


class SuspectRow(Base):
    """An item left unfinished when its batch's process died. It is retried in a batch of half the size, or alone."""

    __tablename__ = "suspects"

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    item: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)
    # the batch that died, since items of the same death are retried together; 0 if a success followed a lone death
    batch_id: Mapped[int]
    size: Mapped[int]  # the size of the largest batch that may contain it
    num_deaths: Mapped[int]  # deaths while the stage's gate was open


class AttemptRow(Base):
    """A failed attempt at one item. The row is deleted when the item succeeds at that stage."""

    __tablename__ = "attempts"
    __table_args__ = (Index(None, "stage", "item"), Index(None, "failed_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[WorkStage] = mapped_column(_STAGE)
    item: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))  # video key or project name
    scope: Mapped[FailureScope] = mapped_column(Enum(FailureScope, native_enum=False, length=16))
    kind: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))  # the version of this package
    basis: Mapped[str | None] = mapped_column(
        String(64)
    )  # fingerprint of the inputs: failures with different inputs are ignored
    failed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # when it may be retried, or None if it is not retried until something changes
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class StageGateRow(Base):
    """The gate of a stage. Problems that affect every item close it, and a successful probe opens it."""

    __tablename__ = "stage_gates"

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    closed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_until: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    num_trips: Mapped[int] = mapped_column(default=1)
    probe_batch: Mapped[int | None]  # the one batch that may run after `closed_until`


class HoldRow(Base):
    """Work that a person stopped. It is not requested until a person resumes it."""

    __tablename__ = "holds"
    __table_args__ = (Index(None, "video_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str | None] = mapped_column(String(100))  # or None for every project
    stage: Mapped[WorkStage | None] = mapped_column(_STAGE)  # or None for every stage
    # or None for every video and the project stages
    video_key: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH))
    reason: Mapped[str] = mapped_column(Text)
    held_at: Mapped[datetime] = mapped_column(UtcDateTime)


class WorkBasisRow(Base):
    """The basis (settings, version, weights) for which a stage's pending work was last determined."""

    __tablename__ = "work_bases"

    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    basis: Mapped[str] = mapped_column(String(64))


class MeasurementRow(Base):
    """The resources that a stage used for a video or project in one run (domain/measurements.py)."""

    __tablename__ = "measurements"
    __table_args__ = (Index(None, "stage", "measured_at"),)

    subject: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)  # video key or project name
    stage: Mapped[WorkStage] = mapped_column(_STAGE, primary_key=True)
    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)  # or "" outside Dagster runs
    num_items: Mapped[int]
    num_failed: Mapped[int]
    num_requests: Mapped[int] = mapped_column(BigInteger)
    bytes_received: Mapped[int] = mapped_column(BigInteger)
    bytes_written: Mapped[int] = mapped_column(BigInteger)
    cpu_seconds: Mapped[float]
    gpu_seconds: Mapped[float]
    wall_seconds: Mapped[float]
    floor_seconds: Mapped[float]
    num_frames: Mapped[int] = mapped_column(BigInteger)
    num_boxes: Mapped[int] = mapped_column(BigInteger)
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ShardPlanRow(Base):
    """The division of a project's work at a stage into shards, which any number of runs process in parallel."""

    __tablename__ = "shard_plans"
    __table_args__ = (UniqueConstraint("stage", "project_name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    stage: Mapped[WorkStage] = mapped_column(_STAGE)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"))
    basis: Mapped[str] = mapped_column(String(64))  # fingerprint of the inputs and settings of the shards
    num_shards: Mapped[int]
    first_part: Mapped[int]  # greater than the number of any part that existed before
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    num_asked: Mapped[int] = mapped_column(default=0)  # runs that were requested to join in
    num_fruitless: Mapped[int] = mapped_column(default=0)  # requests since one of these runs last finished a shard
    ask_again_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ShardRow(Base):
    """A shard that is not finished yet: a range of a project's items, in their order."""

    __tablename__ = "shards"
    __table_args__ = (Index(None, "plan_id", "num_taken", "number"), Index(None, "resource"))

    plan_id: Mapped[str] = mapped_column(ForeignKey("shard_plans.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[str] = mapped_column(String(255))  # the first and the last item
    last: Mapped[str] = mapped_column(String(255))
    start: Mapped[int]  # number of the plan's items before it
    size: Mapped[int]
    num_taken: Mapped[int] = mapped_column(default=0)  # workers that began it and have not returned it
    resource: Mapped[str] = mapped_column(String(300))  # the name of its claim


class AlertRow(Base):
    """A current alert: a problem, and when it began."""

    __tablename__ = "alerts"

    kind: Mapped[AlertKind] = mapped_column(Enum(AlertKind, native_enum=False, length=32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)  # a project, stage or site, or ""
    line: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # or None if it was not sent yet


class AlertMessageRow(Base):
    """A message that one target has not accepted yet."""

    __tablename__ = "alert_messages"
    __table_args__ = (Index(None, "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(Text)  # the reference to its address, never the address
    title: Mapped[str] = mapped_column(Text)
    line: Mapped[str] = mapped_column(Text)
    is_over: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    num_tries: Mapped[int] = mapped_column(default=0)
