"""SQL over Dagster's ticks. Dagster itself deletes them, and does not count them without reading them all."""

from collections.abc import Collection

from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._time import datetime_from_timestamp
from sqlalchemy import Connection, func, select


def count_ticks(connection: Connection, selector_id: str, before: float, statuses: Collection[TickStatus]) -> int:
    """Return how many ticks a sensor or schedule has had before a time, with one of these outcomes."""
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
