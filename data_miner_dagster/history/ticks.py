"""Count Dagster's ticks. Dagster itself can delete ticks, but cannot count them without reading them all."""

from collections.abc import Collection

from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._time import datetime_from_timestamp
from sqlalchemy import Connection, func, select


def count_ticks(connection: Connection, selector_id: str, before: float, statuses: Collection[TickStatus]) -> int:
    """Return the number of ticks of one sensor or schedule that are older than `before` and have one of `statuses`.

    Args:
        connection: a connection to the database of Dagster's ticks.
        selector_id: the id of the sensor or schedule.
        before: the time in seconds since 1970, exclusive.
        statuses: the outcomes to count.
    """
    ticks = JobTickTable.c
    return (
        connection.scalar(
            select(func.count()).where(
                ticks.selector_id == selector_id,
                ticks.timestamp < datetime_from_timestamp(before),
                ticks.status.in_([status.value for status in statuses]),
            )
        )
        or 0
    )
