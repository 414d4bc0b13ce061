"""Enforce politeness towards sites when listing and downloading: breakers, budgets, spacing and turns.

Processes coordinate through the catalog. Within a process, an open breaker takes effect immediately: once the answer
that opened it has been read, no thread sends another request that the breaker stops.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from data_miner_dagster.catalog.clock import SharedClock
from data_miner_dagster.catalog.politeness import (
    EVERY_SITE,
    Admission,
    GateState,
    admit_download,
    close_gate,
    gate_state,
    note_success,
    num_trips,
)
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.site_events import (
    declare_event,
    end_probe,
    note_refusal,
    note_served,
    put_back_if_of_event,
    take_probe,
)
from data_miner_dagster.domain.errors import TransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.hosts import normalize_host, retry_after_seconds
from data_miner_dagster.sites.versions import yt_dlp_version
from data_miner_dagster.stages.downloading.failures import breaker_seconds, granted_wait_seconds
from data_miner_dagster.stages.downloading.site_health import (
    STREAK_LASTS,
    SUSPECT_KINDS,
    VIDEOS_OF_AN_EVENT,
    refusal_reason,
)

_PROBE_POLL_SECONDS: Final = 0.2
_ONE_TRIP: Final = timedelta(seconds=5)
"""The answer that opens a breaker is noted twice, as a response and as an error. Within this time, it counts once."""

logger = logging.getLogger(__name__)


class PostponedError(TransientError):
    """Raised if a download or listing is postponed for a reason that is not the fault of the video or source.

    Examples are an open breaker, a spent budget and a full disk. Work continues automatically at `until`.
    """

    def __init__(self, kind: VideoErrorKind, until: datetime, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.until = until


class NotYetError(TransientError):
    """Raised if a video must wait a short time before its download can start.

    It waits for its turn at a site, for another video's test of the site, or for disk space that other downloads have
    reserved. No request was sent, and nothing was recorded for the video.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the download cannot start yet; try again in {seconds:.1f} s")
        self.seconds = seconds


def _until_text(until: datetime) -> str:
    return until.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class SitePoliteness:
    """Enforces politeness towards sites, for one run. Thread-safe."""

    def __init__(self, platform: Platform) -> None:
        self._config = platform.config.downloading
        self._database = platform.database
        self._clock = SharedClock(platform.database)  # shared by all hosts that use the same sites
        self._lock = threading.Lock()
        self._closed_until: dict[str, datetime] = {}  # by scope; only `_close` changes it
        self.when_closed: Callable[[], None] = lambda: None
        """Called whenever the result of `may_request` may have become False."""
        self._reserved: dict[str, Admission] = {}  # by site: a download that was counted, and may start soon
        self._next_listing: dict[str, float] = {}  # time.monotonic()

    def _scope(self, site: str) -> str:
        return EVERY_SITE if self._config.breaker.stops == "all" else site

    def _known_until(self, site: str) -> datetime | None:
        """Return the time until which a site must not be contacted, or None if this process knows of no such time."""
        now = self._clock.now()
        dates = [self._closed_until.get(name) for name in (site, EVERY_SITE)]
        return max((date for date in dates if date is not None and date > now), default=None)

    def may_request(self, site: str) -> bool:
        """Return whether a request may be made now, as far as this process knows."""
        return self._known_until(site) is None

    def on_response(self, site: str, status: int, headers: Mapping[str, str]) -> None:
        """Open the site's breaker if a response has the status 429 (too many requests)."""
        if status == 429:
            self.trip(site, retry_after_seconds(headers.get("Retry-After")), f"{site} answered HTTP 429")

    def trip(self, site: str, wait_seconds: float | None, reason: str) -> datetime:
        """Open the breaker of a site, or of every site if `breaker.stops` is `all`. Return the time at which it closes.

        An open breaker stays open, for longer if the site asks for more time. `wait_seconds` is the time that the site
        asked for, or None if it named no time.
        """
        scope = self._scope(site)
        with self._lock:
            now, known = self._clock.now(), self._known_until(site)
            asked = now + timedelta(seconds=granted_wait_seconds(wait_seconds, self._config.breaker))
            if known is not None and known >= asked - _ONE_TRIP:
                return known  # already open: one trip, however many responses report it
            is_open = known is not None
            # This takes effect in this process immediately. The exact time follows.
            self._close(scope, max(asked, now + timedelta(seconds=self._config.breaker.open_seconds)))
            seconds = breaker_seconds(num_trips(self._database, scope), wait_seconds, self._config.breaker)
            until = asked if is_open else now + timedelta(seconds=seconds)
            close_gate(self._database, scope, until, reason)
            self._close(scope, until)
        what = "no requests are sent to any site" if scope == EVERY_SITE else f"no requests are sent to {site}"
        logger.warning("%s: %s until %s", reason, what, _until_text(until))
        return until

    def _close(self, scope: str, until: datetime) -> None:
        self._closed_until[scope] = until
        self.when_closed()

    def check_gate(self, site: str) -> GateState:
        """Check that neither the site's breaker nor the one for all sites is open. Return their combined state.

        An open breaker is also noted in this process.

        Raises:
            PostponedError: one of the two breakers is open.
        """
        state = gate_state(self._database, site)
        if (gate := state.closed) is not None:
            with self._lock:
                self._close(gate.site, gate.until)
            kind = VideoErrorKind.SITE_REFUSAL if gate.is_event else VideoErrorKind.RATE_LIMITED
            raise PostponedError(kind, gate.until, f"{gate.reason}; requests resume at {_until_text(gate.until)}")
        return state

    # --- refusals of the whole site ---

    def note_refusal(self, row: VideoRow, site: str, kind: VideoErrorKind, message: str, begun_at: datetime) -> None:
        """Count the refusal of a video that was requested at `begun_at`.

        The whole site counts as refusing requests if three videos in a row were refused, in any process, and this video
        was requested after another one had been refused. The site's breaker then opens, and `put_back` postpones the
        refused videos until it closes.
        """
        since = self._clock.now() - STREAK_LASTS
        may_count = row.status is not VideoStatus.UNAVAILABLE  # an unavailable video's refusal is already known
        streak = note_refusal(self._database, site, row.key, may_count=may_count, since=since, begun_at=begun_at)
        if not streak.is_event and not (streak.num_videos >= VIDEOS_OF_AN_EVENT and streak.is_confirmed):
            return
        with self._lock:
            state = gate_state(self._database, site)
            seconds = breaker_seconds(state.num_trips, None, self._config.breaker)
            is_closed = state.closed is not None and state.closed.is_event  # another video's refusal opened the breaker
            until = state.closed.until if state.closed and is_closed else self._clock.now() + timedelta(seconds=seconds)
            reason = refusal_reason(site, kind, message, yt_dlp_version(), self._clock.now().date())
            declare_event(self._database, site, until, reason, since=since, kinds=SUSPECT_KINDS)
            self._close(site, until)  # last, because the code that this stops reads the reason
        if not is_closed:
            logger.warning("%s: no requests are sent until %s", reason, _until_text(until))

    def put_back(self, video_key: str, site: str) -> str | None:
        """If the whole site refuses requests, cancel a video's failure and return the reason. Otherwise return None."""
        return put_back_if_of_event(self._database, site, video_key, SUSPECT_KINDS)

    def note_served(self, video_key: str, site: str, begun_at: datetime) -> None:
        """Forget a site's earlier refusals, because it has served a video that was requested at `begun_at`."""
        if note_served(self._database, site, video_key, begun_at):
            logger.info("%s answers again", site)

    def _take_probe(self, site: str, video_key: str) -> tuple[GateState, bool]:
        """If a whole site has refused requests, let one video test the site while the others wait for the result.

        Returns:
            The site's state, and whether this video is the one that tests the site.

        Raises:
            PostponedError: the site's breaker is open.
            NotYetError: another video is testing the site.
        """
        state = self.check_gate(site)
        if not state.is_event:
            return state, False
        if not take_probe(self._database, site, video_key):
            raise NotYetError(_PROBE_POLL_SECONDS)
        return state, True

    def before_listing(self, site: str) -> None:
        """Wait until a listing request to a site is allowed. Listings are spaced like downloads, but use up no budget.

        Raises:
            PostponedError: the site's breaker or the one for all sites is open.
        """
        self.check_gate(site)
        with self._lock:
            begin = max(time.monotonic(), self._next_listing.get(site, 0.0))
            self._next_listing[site] = begin + self._spacing_seconds(site)
        time.sleep(max(0.0, begin - time.monotonic()))

    def _is_spared(self, site: str) -> bool:
        hosts = {normalize_host(host) for host in self._config.allowed_private_hosts}
        return self._config.politeness.spare_private_hosts and normalize_host(site) in hosts

    def _spacing_seconds(self, site: str) -> float:
        politeness = self._config.politeness
        if self._is_spared(site):
            return 0.0
        return random.uniform(politeness.min_sleep_seconds, politeness.max_sleep_seconds)  # noqa: S311  # not a secret

    @contextmanager
    def place(self, site: str, video_key: str) -> Iterator[datetime]:
        """Take a video's turn to be downloaded from a site, without waiting for it. Yield the start time.

        The runs of all processes share the turns. If the block succeeds, earlier trips of the breaker are forgotten.

        Raises:
            PostponedError: the breaker is open, or a budget is spent.
            NotYetError: the turn has not come yet, or another video is testing whether the site still refuses requests.
        """
        state, is_probe = self._take_probe(site, video_key)
        try:
            trips = state.num_trips if self._is_spared(site) else self._take_turn(site)
            yield self._clock.now()
        finally:
            if is_probe:
                end_probe(self._database, site, video_key)
        if trips:  # the block did not raise, so the site answers again
            note_success(self._database, {site, self._scope(site)})

    def _take_turn(self, site: str) -> int:
        """Take the site's next turn. Return how often its breaker has opened recently.

        Raises:
            PostponedError: the breaker is open, or a budget is spent.
            NotYetError: the turn has not come yet. It is reserved for the next caller.
        """
        politeness = self._config.politeness
        with self._lock:
            admission = self._reserved.pop(site, None) or admit_download(
                self._database,
                site,
                hourly_budget=politeness.hourly_budget,
                daily_budget=politeness.daily_budget,
                spacing_seconds=self._spacing_seconds(site),
            )
            seconds = 0.0 if admission.start_at is None else (admission.start_at - self._clock.now()).total_seconds()
            if seconds > 0:
                self._reserved[site] = admission
                raise NotYetError(seconds)
        if admission.start_at is None:
            self.check_gate(site)  # the breaker has opened since the last check, or a budget is spent
            until = admission.wait_until or self._clock.now()
            raise PostponedError(
                VideoErrorKind.RATE_LIMITED, until, f"{admission.reason}; downloads resume at {_until_text(until)}"
            )
        return admission.num_trips
