"""What becomes of a video after a failed download: a status, and when to try again. Pure functions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus


@dataclass(frozen=True, slots=True)
class FailureDecision:
    """The status to store and the date from which another try is due; None: never by itself."""

    status: VideoStatus
    retry_after: datetime | None


def backoff_seconds(attempts: int, config: DownloadingConfig) -> float:
    """Return the delay after the given number of failed runs (from 1): exponential, capped."""
    exponent = min(max(attempts, 1) - 1, 40)  # 2**40 s is past any cap
    return min(config.backoff_seconds * 2.0**exponent, config.max_backoff_seconds)


def decide_failure(
    kind: VideoErrorKind,
    attempts: int,
    retry_after_seconds: float | None,
    now: datetime,
    config: DownloadingConfig,
) -> FailureDecision:
    """Return what to store for a failed download.

    Passing kinds are tried again after a growing delay, or after what the server asks for if that is longer, until
    `max_attempts`. What the site withholds is looked at again after `unavailable_retry_days`. All else stays as it is.
    """
    if kind.is_of_site:
        days = config.unavailable_retry_days
        return FailureDecision(VideoStatus.UNAVAILABLE, None if days is None else now + timedelta(days=days))
    if kind.is_transient and attempts < config.max_attempts:
        delay = max(backoff_seconds(attempts, config), retry_after_seconds or 0.0)
        return FailureDecision(VideoStatus.FAILED, now + timedelta(seconds=delay))
    return FailureDecision(VideoStatus.FAILED, None)


def try_delay_seconds(tries: int, config: DownloadingConfig) -> float | None:
    """Return the pause before another try within this run after `tries` failed ones, or None to leave it."""
    if tries >= config.tries_per_run:
        return None
    return float(config.try_delay_seconds * 2.0 ** (tries - 1))
