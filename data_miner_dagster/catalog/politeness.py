"""The state of each site, which all runs share: its breaker, budgets and request spacing.

Each change is one transaction that locks the site's row, so only one of two processes gets the last slot in a budget.
Times use the database's clock, which all hosts share.

Belongs here: the rows and their changes. Does not belong here: the limits (config), deciding whether a breaker opens
(operations/politeness.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy import Table, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.pending import reindex_videos
from data_miner_dagster.catalog.schema import DownloadStartRow, SiteGateRow, VideoRow
from data_miner_dagster.catalog.writers import insert_absent
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.statuses import STATUSES_WITHOUT_FILE, VideoStatus

EVERY_SITE: Final = "*"
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Admission:
    """A decision about a download: `start_at` if it is admitted and counted, otherwise `wait_until` and `reason`."""

    start_at: datetime | None
    wait_until: datetime | None = None
    reason: str = ""
    num_trips: int = 0  # if admitted: consecutive trips of the breakers that concern the site


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """A site whose breaker is open. No requests are sent to it before `until`."""

    site: str
    until: datetime
    reason: str
    is_event: bool = False  # the whole site refuses requests (catalog/site_events.py)


def locked_gate(session: Session, site: str) -> SiteGateRow:
    """Return the row of a site, locked until this transaction ends. A missing row is created."""
    while (gate := session.get(SiteGateRow, site, with_for_update=True)) is None:
        insert_absent(session, SiteGateRow, [{"site": site, "num_trips": 0}], returning="site")
    return gate


@dataclass(frozen=True, slots=True)
class GateState:
    """The combined state of a site's own breaker and the breaker for all sites."""

    closed: ClosedGate | None  # the breaker that stays open longest, or None if neither is open
    num_trips: int  # consecutive trips of both breakers
    is_event: bool = False  # an event of the site is in progress, whether or not its closing time is over


_GATE: Final = cast("Table", SiteGateRow.__table__).c
_GATES: Final = select(_GATE.site, _GATE.closed_until, _GATE.reason, _GATE.num_trips, _GATE.event_since).where(
    or_(_GATE.site == bindparam("site"), _GATE.site == EVERY_SITE)
)


def _state(session: Session, site: str, now: datetime) -> GateState:
    gates = session.execute(_GATES, {"site": site}).all()
    closed = [
        ClosedGate(name, until, reason or "", event_since is not None)
        for name, until, reason, _, event_since in gates
        if until and until > now
    ]
    return GateState(
        closed=max(closed, key=lambda gate: gate.until, default=None),
        num_trips=sum(trips for *_, trips, _ in gates),
        is_event=any(event_since is not None for *_, event_since in gates),
    )


def gate_state(database: Database, site: str, now: datetime | None = None) -> GateState:
    """Return the combined state of a site's own breaker and the breaker for all sites."""
    with database.reading() as session:
        return _state(session, site, now or database.now(session))


def closed_gates(database: Database, now: datetime | None = None) -> list[ClosedGate]:
    """Return all open breakers, sorted by site."""
    with database.reading() as session:
        present = now or database.now(session)
        rows = session.scalars(select(SiteGateRow).where(SiteGateRow.closed_until > present).order_by(SiteGateRow.site))
        return [
            ClosedGate(row.site, row.closed_until, row.reason or "", row.event_since is not None)
            for row in rows
            if row.closed_until
        ]


def admit_download(
    database: Database,
    site: str,
    *,
    hourly_budget: int | None,
    daily_budget: int | None,
    spacing_seconds: float,
    now: datetime | None = None,
) -> Admission:
    """Reserve and count one download from a site, if the site's budgets and all breakers that concern it allow it.

    Args:
        database: the catalog.
        site: the site.
        hourly_budget: the maximum number of downloads in an hour, or None for no limit.
        daily_budget: the maximum number of downloads in a day, or None for no limit.
        spacing_seconds: the minimum delay between this download and the site's next one, in any process.
        now: the current time, or None for the time on the database's clock.

    Returns:
        When the download may start, or until when to wait and why.
    """
    with database.transaction() as session:
        gate = locked_gate(session, site)
        now = now or database.now(session)
        state = _state(session, site, now)
        if state.closed is not None:
            return Admission(None, state.closed.until, state.closed.reason)
        start_at = max(now, gate.next_start_at or now)
        session.execute(
            delete(DownloadStartRow).where(DownloadStartRow.site == site, DownloadStartRow.started_at <= now - _DAY)
        )
        for budget, window, word in ((hourly_budget, _HOUR, "hourly"), (daily_budget, _DAY, "daily")):
            if budget is None:
                continue
            in_window = (DownloadStartRow.site == site, DownloadStartRow.started_at > start_at - window)
            count = session.scalar(select(func.count()).select_from(DownloadStartRow).where(*in_window)) or 0
            if count >= budget:
                # A slot becomes free when only budget - 1 starts remain in the window.
                leaves = session.scalar(
                    select(DownloadStartRow.started_at)
                    .where(*in_window)
                    .order_by(DownloadStartRow.started_at)
                    .offset(count - budget)
                    .limit(1)
                )
                until = (leaves or now) + window
                return Admission(
                    None, until, f"the {word} budget of {counted(budget, 'download')} from {site} is used up"
                )
        gate.next_start_at = start_at + timedelta(seconds=spacing_seconds)
        session.add(DownloadStartRow(site=site, started_at=start_at))
        return Admission(start_at, num_trips=state.num_trips)


def close_gate(database: Database, site: str, until: datetime, reason: str) -> None:
    """Open a site's breaker until `until` or until the time that is already set, whichever is later."""
    with database.transaction() as session:
        gate = locked_gate(session, site)
        if gate.closed_until is None or gate.closed_until <= database.now(session):
            gate.num_trips += 1  # several failures of one trip count once
        if gate.closed_until is None or gate.closed_until < until:
            gate.closed_until, gate.reason = until, reason


def num_trips(database: Database, site: str) -> int:
    """Return how many times a site's breaker has opened since the last successful download."""
    with database.reading() as session:
        row = session.get(SiteGateRow, site)
        return row.num_trips if row is not None else 0


def note_success(database: Database, sites: Collection[str]) -> None:
    """Reset sites' trip counts to 0 after a success, except for sites whose breakers are open.

    Nothing is written if all counts are 0.
    """
    with database.reading() as session:
        tripped = session.scalars(
            select(SiteGateRow.site).where(SiteGateRow.site.in_(sites), SiteGateRow.num_trips > 0)
        ).all()
    if tripped:
        with database.transaction() as session:
            session.execute(
                update(SiteGateRow)
                .where(SiteGateRow.site.in_(tripped), SiteGateRow.closed_until <= database.now(session))
                .values(num_trips=0)
            )


def postpone_video(
    session: Session, video_key: str, until: datetime, kind: VideoErrorKind, message: str, *, attempts: int
) -> None:
    """Postpone a video that was not tried, or whose download was stopped for a reason unrelated to the video.

    The video becomes FAILED. A video that has a file does not change.

    Args:
        session: the caller's transaction.
        video_key: the key of the video.
        until: the earliest time of a retry.
        kind: the error kind to store.
        message: the reason, on one line.
        attempts: the number of attempts to store.
    """
    session.execute(
        update(VideoRow)
        .where(
            VideoRow.key == video_key,
            VideoRow.status.in_(STATUSES_WITHOUT_FILE),
        )
        .values(
            status=VideoStatus.FAILED,
            error_kind=kind,
            error=with_references(message),
            retry_after=until,
            attempts=attempts,
        )
    )
    reindex_videos(session, [video_key])
