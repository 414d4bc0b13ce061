"""Decide how to handle failed downloads, how long a breaker stays open, and which videos are the same.

Pure functions.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from data_miner_dagster.config.downloading import BreakerConfig, DownloadingConfig
from data_miner_dagster.domain import backoff
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus

MAX_DIFFERENT_BITS: Final = 10
"""The maximum number of bits, out of 64, in which the hashes of two encodings of one video may differ. 84 encodings of
12 clips (three codecs, crf 40, a third of the size, half the frame rate) differ from the original by 0 to 10 bits. 48
pairs of different scenes differ by at least 26 bits. Two moments of one still scene may differ by only 3 bits: five of
18 such pairs would count as one video if their durations were equal.

Source: `python -m benchmarks.same_video`.
"""
MAX_WAIT_SECONDS: Final = 24 * 3600.0
"""The longest Retry-After that is respected for a video, in seconds. Breakers may respect a longer or shorter one."""
SAME_DURATION_SECONDS: Final = 0.5
"""The durations of two encodings of one video differ by less than this, in seconds."""


@dataclass(frozen=True, slots=True)
class FailureDecision:
    """The status to store, and the time from which a retry is due, or None if there is no automatic retry.

    Transient failures always have a retry time.
    """

    status: VideoStatus
    retry_after: datetime | None


def backoff_seconds(attempts: int, config: DownloadingConfig) -> float:
    """Return the delay in seconds before a video is retried, after `attempts` failed runs (at least 1)."""
    return backoff.backoff_seconds(
        attempts, first_seconds=config.backoff_seconds, longest_seconds=config.max_backoff_seconds
    )


def decide_failure(
    kind: VideoErrorKind,
    attempts: int,
    retry_after_seconds: float | None,
    now: datetime,
    config: DownloadingConfig,
) -> FailureDecision:
    """Return the status and the retry time to store for a failed download.

    Transient failures are retried without limit, after a growing delay or after the delay that the server requested,
    whichever is longer. `retry_after_seconds` is the requested delay, or None if there is none. It is respected up
    to `MAX_WAIT_SECONDS`. Videos that the site withholds are retried after `unavailable_retry_days`, if that is set.
    Other failures are not retried.
    """
    if kind.is_of_site:
        days = config.unavailable_retry_days
        return FailureDecision(VideoStatus.UNAVAILABLE, None if days is None else now + timedelta(days=days))
    if kind.is_transient:
        delay = max(backoff_seconds(attempts, config), min(retry_after_seconds or 0.0, MAX_WAIT_SECONDS))
        return FailureDecision(VideoStatus.FAILED, now + timedelta(seconds=delay))
    return FailureDecision(VideoStatus.FAILED, None)


def try_delay_seconds(tries: int, config: DownloadingConfig) -> float | None:
    """Return the pause in seconds after `tries` failed tries (at least 1) in this run, or None to give up."""
    if tries >= config.tries_per_run:
        return None
    return float(config.try_delay_seconds * 2.0 ** (tries - 1))


def granted_wait_seconds(asked_seconds: float | None, config: BreakerConfig) -> float:
    """Return how much of a server's Retry-After is respected, in seconds, or 0 if the server sent no Retry-After.

    The limit is `max_open_seconds` if all sites are paused. If only one site is paused, the limit is at least a day.
    """
    longest = config.max_open_seconds if config.stops == "all" else max(config.max_open_seconds, MAX_WAIT_SECONDS)
    return min(asked_seconds or 0.0, longest)


def breaker_seconds(num_trips: int, retry_after_seconds: float | None, config: BreakerConfig) -> float:
    """Return the seconds for which a breaker stays open after it has already opened `num_trips` times in a row.

    A longer Retry-After from the server is respected up to the limit of `granted_wait_seconds`.
    """
    own = min(config.open_seconds * 2.0 ** min(num_trips, 40), config.max_open_seconds)
    return max(own, granted_wait_seconds(retry_after_seconds, config))


def durations_agree(file_seconds: float, site_seconds: float | None, tolerance: float) -> bool:
    """Return whether a file's duration matches the duration that the site states, or True if it states none.

    The durations may differ by 2 seconds or by the fraction `tolerance`, whichever is larger.
    """
    if site_seconds is None:
        return True
    return abs(file_seconds - site_seconds) <= max(2.0, tolerance * site_seconds)


def is_same_content(one: str, other: str) -> bool:
    """Return whether two content fingerprints, hex hashes joined by "-", are close enough to count as one video.

    Hashes of the same video in two encodings differ in a few of 64 bits. Hashes of different videos usually differ in
    about 32.
    """
    ours, theirs = one.split("-"), other.split("-")
    if len(ours) != len(theirs) or not ours:
        return False
    return all((int(a, 16) ^ int(b, 16)).bit_count() <= MAX_DIFFERENT_BITS for a, b in zip(ours, theirs, strict=True))
