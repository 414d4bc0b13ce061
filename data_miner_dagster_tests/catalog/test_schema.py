from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import StatementError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.videos import (
    find_video,
)
from data_miner_dagster_tests.support.catalog import add_video


def test_utc_date_time__zone_survives_and_naive_is_refused(database: Database) -> None:
    from datetime import timezone

    zone = timezone(timedelta(hours=5))
    add_video(database, "urls-a", retry_after=datetime(2026, 1, 1, 5, tzinfo=zone))
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.retry_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert video.retry_after is not None
    assert video.retry_after.tzinfo is UTC
    with pytest.raises(StatementError, match="has no time zone"):
        add_video(database, "urls-b", retry_after=datetime(2026, 1, 1))
