"""Decisions about downloads, with cases worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from data_miner_dagster.config.downloading import BreakerConfig, DownloadingConfig
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.stages.downloading.failures import (
    backoff_seconds,
    breaker_seconds,
    decide_failure,
    durations_agree,
    is_same_content,
    try_delay_seconds,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = DownloadingConfig(backoff_seconds=100, max_backoff_seconds=1000, max_attempts=4)


def test_backoff_seconds__doubles_up_to_the_cap() -> None:
    assert [backoff_seconds(attempts, CONFIG) for attempts in (1, 2, 3, 4, 5, 10_000)] == [
        100,
        200,
        400,
        800,
        1000,
        1000,
    ]


def test_decide_failure__passing_kinds_come_back_later() -> None:
    decision = decide_failure(VideoErrorKind.TRANSIENT, 2, None, NOW, CONFIG)
    assert (decision.status, decision.retry_after) == (VideoStatus.FAILED, NOW + timedelta(seconds=200))


def test_decide_failure__the_servers_word_counts_if_it_is_longer() -> None:
    for asked, expected in ((5.0, 100), (5000.0, 5000)):
        decision = decide_failure(VideoErrorKind.TRANSIENT, 1, asked, NOW, CONFIG)
        assert decision.retry_after == NOW + timedelta(seconds=expected)


@pytest.mark.parametrize("kind", [kind for kind in VideoErrorKind if kind.is_transient])
def test_decide_failure__what_may_pass_is_never_given_up(kind: VideoErrorKind) -> None:
    for attempts in (CONFIG.max_attempts, CONFIG.max_attempts + 1, 10_000):
        decision = decide_failure(kind, attempts, None, NOW, CONFIG)
        delay = 800 if attempts == 4 else 1000
        assert (decision.status, decision.retry_after) == (VideoStatus.FAILED, NOW + timedelta(seconds=delay))


def test_backoff_seconds__by_default_from_half_a_minute_to_six_hours() -> None:
    default = DownloadingConfig()
    assert [backoff_seconds(attempts, default) for attempts in (1, 2, 10, 11, 10_000)] == [
        30,
        60,
        30 * 2**9,
        6 * 3600,
        6 * 3600,
    ]


def test_decide_failure__what_the_site_withholds() -> None:
    decision = decide_failure(VideoErrorKind.PRIVATE, 1, None, NOW, CONFIG)
    assert (decision.status, decision.retry_after) == (VideoStatus.UNAVAILABLE, NOW + timedelta(days=30))
    never = DownloadingConfig(unavailable_retry_days=None)
    assert decide_failure(VideoErrorKind.REMOVED, 1, None, NOW, never).retry_after is None


@pytest.mark.parametrize("kind", [VideoErrorKind.UNSUPPORTED, VideoErrorKind.POLICY, VideoErrorKind.NOT_A_VIDEO])
def test_decide_failure__the_rest_stays_as_it_is(kind: VideoErrorKind) -> None:
    decision = decide_failure(kind, 1, None, NOW, CONFIG)
    assert (decision.status, decision.retry_after) == (VideoStatus.FAILED, None)


def test_decide_failure__every_kind_ends_in_a_state() -> None:
    for kind in VideoErrorKind:
        assert decide_failure(kind, 1, None, NOW, CONFIG).status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)


def test_try_delay_seconds() -> None:
    config = DownloadingConfig(tries_per_run=3, try_delay_seconds=2)
    assert [try_delay_seconds(tries, config) for tries in (1, 2, 3)] == [2, 4, None]


def test_breaker_seconds__doubles_and_obeys_the_server() -> None:
    config = BreakerConfig(open_seconds=100, max_open_seconds=300)
    assert [breaker_seconds(trips, None, config) for trips in (0, 1, 2, 9)] == [100, 200, 300, 300]
    assert breaker_seconds(0, 5.0, config) == 100
    assert breaker_seconds(0, 900.0, config) == 900
    assert breaker_seconds(0, 99_999_999.0, config) == 24 * 3600
    for_all = BreakerConfig(stops="all", open_seconds=100, max_open_seconds=300)
    assert breaker_seconds(0, 99_999_999.0, for_all) == 300


def test_decide_failure__a_server_is_granted_a_day() -> None:
    decision = decide_failure(VideoErrorKind.TRANSIENT, 1, 99_999_999.0, NOW, CONFIG)
    assert decision.retry_after == NOW + timedelta(days=1)


def test_durations_agree() -> None:
    assert durations_agree(10.0, None, 0.1)
    assert durations_agree(10.0, 12.0, 0.0)
    assert not durations_agree(10.0, 12.1, 0.0)
    assert durations_agree(95.0, 100.0, 0.1)
    assert not durations_agree(50.0, 100.0, 0.1)


def test_is_same_content() -> None:
    assert is_same_content("00000000000000ff-ff", "00000000000000ff-fe")
    assert is_same_content("ff-00", "ff-3ff")  # ten bits differ
    assert not is_same_content("ff-00", "ff-7ff")  # eleven bits differ
    assert not is_same_content("ff", "ff-ff")
