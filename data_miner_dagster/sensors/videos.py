"""Request runs that download, extract and embed pending videos, one batch each."""

from collections.abc import Iterator

import dagster as dg

from data_miner_dagster.catalog.batches import take_batch
from data_miner_dagster.catalog.pending import projects_of
from data_miner_dagster.domain.work import VIDEO_STAGES
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.requests import Room, request_of


def request_videos(platform: Platform, room: Room) -> Iterator[dg.RunRequest]:
    """Record batches of due videos in the catalog, as many as `room` allows, and yield a run request for each.

    Later stages come first. Few runs are requested, because each run takes further batches on its own.
    """
    for stage in reversed(VIDEO_STAGES):
        while room.has(stage) and (batch := take_batch(platform.database, stage)) is not None:
            room.take(stage)
            with platform.database.reading() as session:
                projects = sorted(projects_of(session, batch.items))
            yield request_of(batch, projects)
