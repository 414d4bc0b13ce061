"""Refusals by whole sites, shared by all runs of a root: streaks, events, probes, and videos to retry.

Belongs here: the rows and their changes. Does not belong here: deciding when a streak becomes an event
(stages/downloading/site_health.py), and reacting to an event (operations/politeness.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, cast

from sqlalchemy import ColumnElement, Table, and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.pending import reindex_videos
from data_miner_dagster.catalog.politeness import locked_gate
from data_miner_dagster.catalog.schema import ClaimRow, SiteGateRow, SiteRefusalRow, VideoRow
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus

_REMEMBERED_FOR: Final = timedelta(days=30)


class RefusalState(StrEnum):
    """The state of a refusal, which decides whether it is attributed to the video or to the site."""

    STREAK = "streak"  # refused since the site last served a video; counted against the video
    EVENT = "event"  # a refusal by the whole site; not counted against the video
    CLEARED = "cleared"  # the site has served other videos since; the next refusal concerns the video itself


_REFUSAL: Final = cast("Table", SiteRefusalRow.__table__).c
_REFUSED_BEFORE: Final = (
    select(_REFUSAL.video_key)
    .where(
        _REFUSAL.site == bindparam("site"),
        or_(_REFUSAL.state != RefusalState.CLEARED, _REFUSAL.video_key == bindparam("video_key")),
        _REFUSAL.refused_at <= bindparam("begun_at"),
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Streak:
    """The videos that a site has refused since it last served one."""

    num_videos: int
    is_confirmed: bool
    """Whether the last video was requested after another one had been refused. If not, the site may have refused a few
    bad videos that were requested in parallel. The first refusals of N parallel downloads therefore confirm nothing.
    Each of the N then requests a second video, and one of them, refused twice before the others, a third: an event is
    declared after at most 2N + 1 requests."""
    is_event: bool
    """Whether the whole site is known to refuse requests."""


def note_refusal(
    database: Database, site: str, video_key: str, *, may_count: bool, since: datetime, begun_at: datetime
) -> Streak:
    """Record a refused video, and return the site's current streak.

    Args:
        database: the catalog.
        site: the site that refused the video.
        video_key: the key of the video.
        may_count: False if the video is known to be refused regardless of the state of the site.
        since: refusals before this time are ignored.
        begun_at: the time at which the video was requested.
    """
    with database.transaction() as session:
        gate = locked_gate(session, site)
        is_on = gate.event_since is not None
        now = database.now(session)  # before the row is added, because querying the server's clock would flush it
        row = session.get(SiteRefusalRow, (site, video_key))
        if row is None:
            row = SiteRefusalRow(site=site, video_key=video_key, counts=may_count)
            session.add(row)
        elif row.state == RefusalState.CLEARED:
            row.counts = False
        row.state = RefusalState.EVENT if is_on else RefusalState.STREAK
        row.refused_at = now
        session.flush()
        is_in_a_row = (
            SiteRefusalRow.site == site,
            SiteRefusalRow.state == RefusalState.STREAK,
            SiteRefusalRow.counts,
            SiteRefusalRow.refused_at > since,
        )
        is_earlier = SiteRefusalRow.video_key != video_key, SiteRefusalRow.refused_at <= begun_at
        num_videos = session.scalar(select(func.count()).where(*is_in_a_row)) or 0
        num_earlier = session.scalar(select(func.count()).where(*is_in_a_row, *is_earlier)) or 0
        return Streak(num_videos, is_confirmed=num_earlier > 0, is_event=is_on)


def declare_event(
    database: Database, site: str, until: datetime, reason: str, *, since: datetime, kinds: Collection[VideoErrorKind]
) -> None:
    """Open a site's breaker because the whole site refuses requests, and postpone the videos that failed because of it.

    Args:
        database: the catalog.
        site: the site.
        until: the time before which the site is not contacted.
        reason: the reason, on one line.
        since: refusals before this time are not changed.
        kinds: the error kinds of the videos that failed because the site refused them.
    """
    with database.transaction() as session:
        gate = locked_gate(session, site)
        if gate.closed_until is None or gate.closed_until <= database.now(session):
            gate.num_trips += 1
        if gate.closed_until is None or gate.closed_until < until:
            gate.closed_until = until
        gate.reason = reason
        gate.event_since = gate.event_since or database.now(session)
        session.execute(
            update(SiteRefusalRow)
            .where(
                SiteRefusalRow.site == site,
                SiteRefusalRow.state == RefusalState.STREAK,
                SiteRefusalRow.refused_at > since,
            )
            .values(state=RefusalState.EVENT)
        )
        session.flush()
        _put_back(session, gate, kinds)


def _put_back(session: Session, gate: SiteGateRow, kinds: Collection[VideoErrorKind]) -> None:
    """Postpone an event's videos until the site may be contacted again. Their refused attempts do not count."""
    of_event = session.scalars(
        select(SiteRefusalRow.video_key).where(
            SiteRefusalRow.site == gate.site, SiteRefusalRow.state == RefusalState.EVENT
        )
    ).all()
    lock_videos(session, of_event)
    session.execute(
        update(VideoRow)
        .where(
            VideoRow.key.in_(of_event),
            VideoRow.status.in_((VideoStatus.FAILED, VideoStatus.UNAVAILABLE)),
            VideoRow.error_kind.in_(kinds),
        )
        .values(
            status=VideoStatus.FAILED,
            error_kind=VideoErrorKind.SITE_REFUSAL,
            error=gate.reason,
            retry_after=gate.closed_until,
            attempts=case((VideoRow.attempts > 0, VideoRow.attempts - 1), else_=0),
        )
    )
    reindex_videos(session, of_event)


def put_back_if_of_event(
    database: Database, site: str, video_key: str, kinds: Collection[VideoErrorKind]
) -> str | None:
    """If this video's refusal belongs to an event in progress at its site, postpone the event's failed videos.

    Returns:
        The reason for the event, or None if the refusal belongs to no event in progress.
    """
    with database.reading() as session:
        row = session.get(SiteRefusalRow, (site, video_key))
        if row is None or row.state != RefusalState.EVENT:
            return None
    with database.transaction() as session:
        gate = locked_gate(session, site)
        if gate.event_since is None:
            return None
        _put_back(session, gate, kinds)
        return gate.reason or ""


def was_refused(session: Session, site: str, video_key: str, begun_at: datetime) -> bool:
    """Return whether serving this video would clear any refusals recorded for its site.

    If not, `note_served` need not be called.
    """
    values = {"site": site, "video_key": video_key, "begun_at": begun_at}
    return session.connection().execute(_REFUSED_BEFORE, values).first() is not None


def note_served(database: Database, site: str, video_key: str, begun_at: datetime) -> bool:
    """Record that a site served a video that was requested at `begun_at`, and clear the site's earlier refusals.

    An event ends if it began before `begun_at`. A streak's refusals after `begun_at` remain, since a request that was
    already running proves nothing about them.

    Returns:
        Whether this ended an event.
    """
    with database.transaction() as session:
        gate = locked_gate(session, site)
        ends = gate.event_since is not None and gate.event_since <= begun_at
        over: list[ColumnElement[bool]] = [
            and_(SiteRefusalRow.state == RefusalState.STREAK, SiteRefusalRow.refused_at <= begun_at)
        ]
        if ends:
            gate.event_since = gate.closed_until = gate.reason = gate.probe_key = None
            gate.num_trips = 0
            over.append(SiteRefusalRow.state == RefusalState.EVENT)
        session.execute(
            update(SiteRefusalRow)
            .where(SiteRefusalRow.site == site, or_(*over))
            .values(state=RefusalState.CLEARED)
            .execution_options(synchronize_session=False)
        )
        session.execute(
            delete(SiteRefusalRow).where(
                SiteRefusalRow.site == site,
                or_(
                    SiteRefusalRow.video_key == video_key,
                    SiteRefusalRow.refused_at <= database.now(session) - _REMEMBERED_FOR,
                ),
            )
        )
        return ends


def take_probe(database: Database, site: str, video_key: str) -> bool:
    """Return whether a video that the caller has claimed may be requested from its site now.

    During an event, no video may be requested until the site's closing time is over. Afterwards, only one video at a
    time may be requested, and it is recorded as the site's probe. A probe whose process is dead does not count.
    """
    with database.transaction() as session:
        gate = locked_gate(session, site)
        if gate.event_since is None or gate.probe_key == video_key:
            return True
        if gate.closed_until is not None and gate.closed_until > database.now(session):
            return False  # closed again since the caller checked
        claim = session.get(ClaimRow, f"video/{gate.probe_key}")
        if claim is not None and is_claim_live(claim, database.now(session)):
            return False
        gate.probe_key = video_key
        return True


def end_probe(database: Database, site: str, video_key: str) -> None:
    """If this video is the site's probe, end the probe so that another video may be requested."""
    with database.transaction() as session:
        session.execute(
            update(SiteGateRow)
            .where(SiteGateRow.site == site, SiteGateRow.probe_key == video_key)
            .values(probe_key=None)
        )


def refused_in_events(database: Database, video_keys: Collection[str]) -> set[str]:
    """Return the keys among `video_keys` of videos that a site has refused during an event still in progress."""
    with database.reading() as session:
        known = session.scalars(
            select(SiteRefusalRow.video_key).where(SiteRefusalRow.state == RefusalState.EVENT)
        ).all()
    return set(known) & set(video_keys)
