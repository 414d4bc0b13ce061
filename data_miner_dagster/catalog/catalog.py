"""The catalog as the operations see it: typed questions and typed changes, one transaction each."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import URL, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from data_miner_dagster.catalog import upkeep
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import one_line_failures
from data_miner_dagster.catalog.migrations import Migration, current_revision, migrate
from data_miner_dagster.catalog.queries import KEYS_A_STATEMENT, due_at, is_wanted
from data_miner_dagster.catalog.schema import (
    ForgottenRow,
    ProjectRow,
    ProjectVideoRow,
    ReleaseRow,
    VideoRow,
    utc_now,
)
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import VideoCandidate, VideoFileRecord
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus


class Catalog:
    """Questions to and changes of one catalog. Rows returned are detached: reading them is free, changing them is not.

    What comes by key comes in the order of Python's strings. A database sorts by its own collation, which may pass over
    case and punctuation, and the bytes of a project's tables must not depend on that.

    Methods that take a `Session` are parts of a caller's transaction; the others are transactions of their own.
    """

    def __init__(self, url: str | URL) -> None:
        self.database = Database(url)

    def initialise(self) -> Migration | None:
        """Create or migrate the tables. Idempotent; safe when several processes do it at once.

        Returns what was done to tables of an earlier version, if anything.

        Raises:
            TransientError: the database cannot be opened.
            CatalogError: it is damaged.
            ConfigError: it was made by a newer version of this package.
        """
        self.database.check_connection()
        with one_line_failures(self.database.engine):
            return migrate(self.database.engine)

    def is_new(self) -> bool:
        """Return whether there are no tables of ours yet.

        Raises:
            TransientError: the database cannot be opened.
            CatalogError: it is damaged.
        """
        self.database.check_connection()
        with one_line_failures(self.database.engine), self.database.engine.connect() as connection:
            return current_revision(connection) is None

    # --- projects ---

    def save_project(self, name: str, config: Mapping[str, object], config_hash: str, config_file: str | None) -> bool:
        """Insert or update a project's configuration snapshot; return True if anything changed."""
        with self.database.transaction() as session:
            row = session.get(ProjectRow, name)
            if row is None:
                session.add(
                    ProjectRow(
                        name=name,
                        config=dict(config),
                        config_hash=config_hash,
                        config_file=config_file,
                        stage=ProjectStage.SOURCING,
                        counts={},
                    )
                )
                return True
            is_changed = (row.config_hash, row.config_file) != (config_hash, config_file)
            if not is_changed and row.config == dict(config):
                return False  # a snapshot of an earlier version may say less of the same settings
            row.config, row.config_hash, row.config_file = dict(config), config_hash, config_file
            flag_modified(row, "config")  # two mappings that differ in order alone are equal, and differ to us
            return is_changed

    def project(self, name: str) -> ProjectRow | None:
        """Return one project."""
        with self.database.reading() as session:
            return session.get(ProjectRow, name)

    def projects(self) -> list[ProjectRow]:
        """Return all projects by name."""
        with self.database.reading() as session:
            return list(session.scalars(select(ProjectRow).order_by(ProjectRow.name)))

    def update_project(self, name: str, **values: Any) -> None:
        """Set columns other than `stage` (catalog/transitions.py moves that)."""
        with self.database.transaction() as session:
            row = session.get_one(ProjectRow, name)
            for column, value in values.items():
                setattr(row, column, value)

    # --- videos and members ---

    def add_candidate(
        self,
        session: Session,
        project: str,
        candidate: VideoCandidate,
        *,
        rejected_because: str | None,
        takes_back: bool = False,
    ) -> bool:
        """Insert the video and its membership; return True if the membership is new.

        A membership that exists keeps its first provenance. One that was rejected and now passes the rules becomes
        PENDING; one that passed and is now rejected becomes REJECTED. One that a person took out of the project stays
        out, unless a person `takes_back`. An address that was known by a listing alone becomes the user's own when the
        user writes it.
        """
        return self.add_candidates(session, project, [(candidate, rejected_because)], takes_back=takes_back)[0]

    def add_candidates(
        self,
        session: Session,
        project: str,
        decided: Sequence[tuple[VideoCandidate, str | None]],
        *,
        takes_back: bool = False,
    ) -> list[bool]:
        """The same for many different ones, each with why it is rejected, in a few statements."""
        keys = [candidate.video_key for candidate, _ in decided]
        known: dict[str, Origin] = {}
        members: dict[str, ProjectVideoRow] = {}
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            some = keys[start : start + KEYS_A_STATEMENT]
            some_rows = session.execute(select(VideoRow.key, VideoRow.origin).where(VideoRow.key.in_(some)))
            known |= {row.key: row.origin for row in some_rows}
            is_member = ProjectVideoRow.project_name == project, ProjectVideoRow.video_key.in_(some)
            members |= {row.video_key: row for row in session.scalars(select(ProjectVideoRow).where(*is_member))}
        session.add_all(_video_of(candidate) for candidate, _ in decided if candidate.video_key not in known)
        for candidate, _ in decided:
            if candidate.origin is Origin.OWN and known.get(candidate.video_key) is Origin.FOREIGN:
                row = session.get_one(VideoRow, candidate.video_key)
                row.url, row.origin = candidate.url, candidate.origin
        for candidate, rejected_because in decided:
            status = ProjectVideoStatus.PENDING if rejected_because is None else ProjectVideoStatus.REJECTED
            member = members.get(candidate.video_key)
            if member is None:
                session.add(
                    ProjectVideoRow(
                        project_name=project,
                        video_key=candidate.video_key,
                        source=candidate.source,
                        query=candidate.query,
                        rank=candidate.rank,
                        found_at=candidate.found_at,
                        status=status,
                        reason=rejected_because,
                    )
                )
                continue
            if (member.reason or "").startswith(f"{RejectionRule.BY_HAND.value}:") and not takes_back:
                continue
            was_rejected = member.status is ProjectVideoStatus.REJECTED
            if was_rejected is (rejected_because is None):
                member.status = status
            member.reason = rejected_because
        session.flush()
        return [key not in members for key in keys]

    def take_out(self, project: str, video_keys: Sequence[str]) -> list[str]:
        """Reject members by hand; return the keys of those that the project wanted, sorted."""
        with self.database.transaction() as session:
            rows = session.scalars(
                select(ProjectVideoRow)
                .where(ProjectVideoRow.project_name == project, ProjectVideoRow.video_key.in_(sorted(set(video_keys))))
                .order_by(ProjectVideoRow.video_key)
            ).all()
            wanted = [row.video_key for row in rows if row.status is not ProjectVideoStatus.REJECTED]
            for row in rows:
                row.status = ProjectVideoStatus.REJECTED
                row.reason = f"{RejectionRule.BY_HAND.value}: taken out of the project"
        return wanted

    def without_forgotten(self, candidates: Sequence[VideoCandidate]) -> list[VideoCandidate]:
        """Return the candidates that nobody asked to have removed, in their order (`data-miner forget`)."""
        with self.database.reading() as session:
            forgotten = set(session.scalars(select(ForgottenRow.subject)))
        return [
            candidate
            for candidate in candidates
            if forgotten_subject("video", candidate.video_key) not in forgotten
            and forgotten_subject("channel", candidate.channel_id or "") not in forgotten
        ]

    def is_forgotten(self, subject: str) -> bool:
        """Return whether this (of `forgotten_subject`) was removed on request."""
        with self.database.reading() as session:
            return session.get(ForgottenRow, subject) is not None

    def video(self, key: str) -> VideoRow | None:
        """Return one video."""
        with self.database.reading() as session:
            return session.get(VideoRow, key)

    def videos(self, keys: Sequence[str] | None = None, *, project: str | None = None) -> list[VideoRow]:
        """Return videos by key: those named, those of one project (rejected ones left out), or all."""
        query = select(VideoRow)
        if project is not None:
            query = query.where(is_wanted(project))
        with self.database.reading() as session:
            if keys is None:
                return sorted(session.scalars(query), key=attrgetter("key"))
            named = sorted(set(keys))
            rows = [
                row
                for start in range(0, len(named), KEYS_A_STATEMENT)
                for row in session.scalars(query.where(VideoRow.key.in_(named[start : start + KEYS_A_STATEMENT])))
            ]
            return sorted(rows, key=attrgetter("key"))

    def members(self, project: str) -> list[ProjectVideoRow]:
        """Return a project's memberships by video key, rejected ones included."""
        with self.database.reading() as session:
            rows = session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
            return sorted(rows, key=attrgetter("video_key"))

    def record_downloaded(self, session: Session, video_key: str, file: VideoFileRecord, **values: Any) -> bool:
        """DOWNLOADING → DOWNLOADED with what the file proved to be, and other columns. The file must be in place."""
        known: dict[str, Any] = {
            column: value
            for column, value in (
                ("title", file.title),
                ("channel", file.channel),
                ("licence", file.licence),
                ("upload_date", file.upload_date),
            )
            if value is not None
        }
        return move_video(
            session,
            video_key,
            VideoStatus.DOWNLOADED,
            file_name=file.file_name,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            duration_seconds=file.duration_seconds,
            width=file.width,
            height=file.height,
            error=None,
            error_kind=None,
            retry_after=None,
            **known,
            **values,
        )

    def is_due(self, video: VideoRow, now: datetime | None = None) -> bool:
        """Return whether a FAILED or UNAVAILABLE video may be tried again: its date, if it has one, has passed."""
        due = due_at(video.error_kind, video.internal_error_version, video.retry_after)
        return due is not None and due <= (now or utc_now())

    def reset_orphans(self) -> list[str]:
        """Move videos and projects in a working status that no live worker holds one step back; return which."""
        return upkeep.reset_orphans(self.database)

    def give_up(self, video_keys: Sequence[str], reason: str) -> list[str]:
        """Set videos to FAILED/CRASHED without a retry date, unless a live worker holds them; return those set."""
        return upkeep.give_up(self.database, video_keys, reason)

    # --- releases ---

    def add_release(self, session: Session, release: ReleaseRow) -> None:
        """Record a release, once: a second call with the same version changes nothing."""
        known = session.scalar(
            select(ReleaseRow).where(
                ReleaseRow.project_name == release.project_name, ReleaseRow.version == release.version
            )
        )
        if known is None:
            session.add(release)

    def releases(self, project: str) -> list[ReleaseRow]:
        """Return a project's releases in order of making."""
        with self.database.reading() as session:
            return list(
                session.scalars(select(ReleaseRow).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id))
            )

    def num_released_videos(self, project: str) -> int:
        """Return how many videos the project's latest release considered, 0 if it has none."""
        query = select(ReleaseRow.num_videos).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id.desc())
        with self.database.reading() as session:
            return session.scalar(query.limit(1)) or 0


def _video_of(candidate: VideoCandidate) -> VideoRow:
    return VideoRow(
        key=candidate.video_key,
        url=candidate.url,
        origin=candidate.origin,
        title=candidate.title,
        channel=candidate.channel,
        channel_id=candidate.channel_id,
        licence=candidate.licence,
        upload_date=candidate.upload_date,
        duration_seconds=candidate.duration_seconds,
        width=candidate.width,
        height=candidate.height,
        status=VideoStatus.PENDING,
    )
