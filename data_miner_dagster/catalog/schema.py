"""The catalog's tables, as typed ORM rows. The tables of planned work are in work_tables.py."""

from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Date,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.copies import CopyKind
from data_miner_dagster.domain.keys import MAX_KEY_LENGTH
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.domain.verification import VerifierVerdict


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC datetime on every database. SQLite itself does not store the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return a time converted to UTC, or None if there is no value.

        Raises:
            ValueError: the time has no time zone.
        """
        if value is not None and value.tzinfo is None:
            raise ValueError(f"the datetime {value!r} has no time zone; pass a datetime with a time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return a stored time in UTC, or None if there is no value. Databases without time zones store UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the current time as an aware UTC datetime."""
    return datetime.now(UTC)


_CONSTRAINT_NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Patterns for the names of constraints. The names are the same on every database, so migrations can refer to them."""


class Base(DeclarativeBase):
    """The base class of all tables in the catalog."""

    metadata = MetaData(naming_convention=_CONSTRAINT_NAMES)


class ProjectRow(Base):
    """One project, with its configuration as last registered."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    config: Mapped[dict[str, object]] = mapped_column(JSON)  # config.settings.ProjectConfig as JSON
    config_hash: Mapped[str] = mapped_column(String(64))
    config_file: Mapped[str | None] = mapped_column(Text)  # relative paths in the config are relative to its folder
    stage: Mapped[ProjectStage] = mapped_column(Enum(ProjectStage, native_enum=False, length=32))
    counts: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)  # the funnel, as of the last stage run
    error: Mapped[str | None] = mapped_column(Text)
    sourced_config_hash: Mapped[str | None] = mapped_column(String(64))  # the config its sources were last listed with
    sourced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_version: Mapped[str | None] = mapped_column(String(64))
    content_version: Mapped[int] = mapped_column(default=0, server_default="0")  # raised when its inputs change
    building_basis: Mapped[str | None] = mapped_column(String(64))  # fingerprint of the running build's inputs
    built_basis: Mapped[str | None] = mapped_column(String(64))  # fingerprint of the last finished build's inputs
    # when to retry the items that the last build left out
    look_again_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    num_left_out_builds: Mapped[int] = mapped_column(default=0, server_default="0")  # consecutive builds
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)

    members: Mapped[list["ProjectVideoRow"]] = relationship(back_populates="project", cascade="all, delete-orphan")


class VideoRow(Base):
    """One video, shared by all projects."""

    __tablename__ = "videos"

    key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    origin: Mapped[Origin] = mapped_column(  # who wrote `url`: foreign text is never expanded or used as a path
        Enum(Origin, native_enum=False, length=16, values_callable=lambda kinds: [kind.value for kind in kinds]),
        default=Origin.FOREIGN,
    )
    title: Mapped[str | None] = mapped_column(Text)
    channel: Mapped[str | None] = mapped_column(Text)
    channel_id: Mapped[str | None] = mapped_column(Text)
    licence: Mapped[str | None] = mapped_column(Text)
    upload_date: Mapped[date | None] = mapped_column(Date)
    duration_seconds: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    status: Mapped[VideoStatus] = mapped_column(Enum(VideoStatus, native_enum=False, length=32), index=True)
    error_kind: Mapped[VideoErrorKind | None] = mapped_column(
        Enum(VideoErrorKind, native_enum=False, length=32, values_callable=lambda kinds: [kind.value for kind in kinds])
    )
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    retry_after: Mapped[datetime | None] = mapped_column(UtcDateTime)
    internal_error_version: Mapped[str | None] = mapped_column(String(64))  # package version at the last internal error
    file_name: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    num_frames: Mapped[int | None]
    content_fingerprint: Mapped[str | None] = mapped_column(String(64), index=True)  # from pictures and duration
    duplicate_of: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH))  # the first video with this content
    frames_basis: Mapped[str | None] = mapped_column(String(64))  # settings and version of its frames, if known
    embedding_basis: Mapped[str | None] = mapped_column(String(64))  # encoder and frames of its embeddings
    # the size of its source file, or None if it has no such file
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # the size of its folder of frames, or None if it has no frames or they were not measured
    frames_bytes: Mapped[int | None] = mapped_column(BigInteger)
    reserved_bytes: Mapped[int | None] = mapped_column(BigInteger)  # the limit of its download, while DOWNLOADING
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)

    members: Mapped[list["ProjectVideoRow"]] = relationship(back_populates="video", cascade="all, delete-orphan")


class ProjectVideoRow(Base):
    """One video in one project, with its provenance and status in that project."""

    __tablename__ = "project_videos"
    __table_args__ = (
        UniqueConstraint("project_name", "video_key"),
        Index(None, "video_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"))
    video_key: Mapped[str] = mapped_column(ForeignKey("videos.key", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(64))
    query: Mapped[str] = mapped_column(Text)
    rank: Mapped[int]
    found_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[ProjectVideoStatus] = mapped_column(Enum(ProjectVideoStatus, native_enum=False, length=32))
    num_passed_frames: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(Text)  # for a rejection: "<rule>: <message>"

    project: Mapped[ProjectRow] = relationship(back_populates="members")
    video: Mapped[VideoRow] = relationship(back_populates="members")


class ClaimRow(Base):
    """A worker's claim on some work. It expires unless it is renewed, so nothing stays locked if a worker dies."""

    __tablename__ = "claims"

    resource: Mapped[str] = mapped_column(String(300), primary_key=True)  # "video/<key>", "project/<name>"
    token: Mapped[str] = mapped_column(String(32))  # identifies this holder; every update is conditional on it
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    process_started: Mapped[str] = mapped_column(String(64))  # distinguishes the process from one with a reused pid
    run_id: Mapped[str | None] = mapped_column(String(64))
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ForgottenRow(Base):
    """A video or channel that was removed on request. No listing adds it again, and its name is not stored."""

    __tablename__ = "forgotten"

    subject: Mapped[str] = mapped_column(String(300), primary_key=True)  # from `forgotten_subject`
    reason: Mapped[str] = mapped_column(Text)
    forgotten_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class SourceListingRow(Base):
    """The last listing of one query of a project's source. An error is never treated as an empty list."""

    __tablename__ = "source_listings"
    __table_args__ = (UniqueConstraint("project_name", "source", "query"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(64))
    query: Mapped[str] = mapped_column(Text)
    listed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    num_found: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    passed_over: Mapped[str | None] = mapped_column(Text)  # the files of a folder that were left out, counted by reason


class ReleaseRow(Base):
    """One immutable release of one project."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("project_name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(String(100))  # outlives its project: published data stays on record
    version: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    num_videos: Mapped[int] = mapped_column(default=0)  # member videos whose frames were considered
    num_images: Mapped[int]
    num_boxes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    withdrawn_reason: Mapped[str | None] = mapped_column(Text)
    cost: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # stages.costs.Cost at its creation


class OutsideCopyRow(Base):
    """A copy that a command has stored outside the root. Removals on request must be repeated there."""

    __tablename__ = "outside_copies"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[CopyKind] = mapped_column(
        Enum(CopyKind, native_enum=False, length=16, values_callable=lambda kinds: [kind.value for kind in kinds])
    )
    url: Mapped[str] = mapped_column(Text)  # a bucket, hub or folder, without credentials
    project_name: Mapped[str | None] = mapped_column(String(100))  # set for a publication
    version: Mapped[str | None] = mapped_column(String(64))
    snapshot: Mapped[str | None] = mapped_column(String(64))  # set for a backup
    made_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class SiteGateRow(Base):
    """The breaker and request spacing of one site, shared by all runs."""

    __tablename__ = "site_gates"

    site: Mapped[str] = mapped_column(String(255), primary_key=True)  # "youtube", a host, or "*" for every site
    closed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(Text)
    num_trips: Mapped[int] = mapped_column(default=0)  # trips since the last success
    next_start_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    event_since: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when the whole site began to refuse requests
    probe_key: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH))  # the one video to try after `closed_until`


class SiteRefusalRow(Base):
    """A video that its site refused recently in a way that may affect the whole site (catalog/site_events.py)."""

    __tablename__ = "site_refusals"

    site: Mapped[str] = mapped_column(String(255), primary_key=True)
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))  # RefusalState
    counts: Mapped[bool]  # False if the refusal is known to concern only the video
    refused_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DownloadStartRow(Base):
    """One started download, which counts towards the hourly and daily budgets. The row is kept for at least a day."""

    __tablename__ = "download_starts"
    __table_args__ = (Index(None, "site", "started_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PrescreeningRow(Base):
    """The similarity of one candidate's best picture to one project's prompts, for one encoder."""

    __tablename__ = "prescreenings"
    __table_args__ = (UniqueConstraint("project_name", "video_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(ForeignKey("projects.name", ondelete="CASCADE"))
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))
    # depends on the encoder and the prompts; if it changes, the row is replaced
    fingerprint: Mapped[str] = mapped_column(String(64))
    similarity: Mapped[float]
    prompt: Mapped[str] = mapped_column(Text)  # the most similar prompt
    num_pictures: Mapped[int]
    scored_at: Mapped[datetime] = mapped_column(UtcDateTime)


class VideoSplitRow(Base):
    """The permanent split of one video in one project, drawn with the given `shares`.

    The row outlives releases, memberships and the video itself, so a video that is added again keeps its split.
    """

    __tablename__ = "video_splits"
    __table_args__ = (UniqueConstraint("project_name", "shares", "video_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(String(100))
    shares: Mapped[str] = mapped_column(Text)  # "train=0.8,test=0.1,val=0.1"
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))
    split: Mapped[str] = mapped_column(Text)  # or the text of the cut of a divided video (domain/splits.py)


class VideoGenerationRow(Base):
    """The number of the first release that considered a video's frames.

    Deduplication prefers frames of videos with lower numbers. The row outlives releases, memberships and the video.
    """

    __tablename__ = "video_generations"
    __table_args__ = (UniqueConstraint("project_name", "video_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(String(100))
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))
    generation: Mapped[int]


class VerdictRow(Base):
    """One answer by one person (domain/verdicts.py). Rows are added and marked as undone, but otherwise never change.

    Verdicts cannot be recreated, so they outlive memberships, videos and a project's results.
    """

    __tablename__ = "verdicts"
    __table_args__ = (
        UniqueConstraint("project_name", "answer_id"),
        Index(None, "project_name", "video_key"),
        Index(None, "video_key"),
        Index(None, "other_video_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_name: Mapped[str] = mapped_column(String(100))
    answer_id: Mapped[str] = mapped_column(String(64))
    word: Mapped[VerdictWord] = mapped_column(
        Enum(VerdictWord, native_enum=False, length=32, values_callable=lambda words: [word.value for word in words])
    )
    subject: Mapped[str] = mapped_column(String(64))
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))
    pts_seconds: Mapped[float]
    frame_id: Mapped[str] = mapped_column(Text)  # as shown; by now it may identify another frame
    other_video_key: Mapped[str | None] = mapped_column(String(MAX_KEY_LENGTH))
    other_pts_seconds: Mapped[float | None]
    other_frame_id: Mapped[str | None] = mapped_column(Text)
    class_name: Mapped[str | None] = mapped_column(Text)
    box: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))  # fractions of width and height
    detector: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[float | None]
    new_class_name: Mapped[str | None] = mapped_column(Text)
    new_box: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))
    queue: Mapped[ReviewQueue] = mapped_column(
        Enum(ReviewQueue, native_enum=False, length=32, values_callable=lambda all_: [queue.value for queue in all_])
    )
    who: Mapped[str] = mapped_column(Text)
    given_at: Mapped[datetime] = mapped_column(UtcDateTime)
    replaces: Mapped[str | None] = mapped_column(String(64))
    undone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    undone_by: Mapped[str | None] = mapped_column(Text)


class BoxAnswerRow(Base):
    """A verifier's answer about one crop (catalog/box_answers.py).

    Rows are added but never changed or replaced, because the answers were paid for.
    """

    __tablename__ = "box_answers"
    __table_args__ = (Index(None, "video_key"), Index(None, "project_name"))

    question_key: Mapped[str] = mapped_column(String(32), primary_key=True)
    video_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH))
    project_name: Mapped[str] = mapped_column(String(100))  # the project that asked
    verifier: Mapped[str] = mapped_column(String(64))  # fingerprint
    verdict: Mapped[VerifierVerdict] = mapped_column(
        Enum(VerifierVerdict, native_enum=False, length=16, values_callable=lambda all_: [one.value for one in all_])
    )
    reason: Mapped[str] = mapped_column(Text)
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost: Mapped[float | None]  # in the currency of the endpoint's prices
    answered_at: Mapped[datetime] = mapped_column(UtcDateTime)
