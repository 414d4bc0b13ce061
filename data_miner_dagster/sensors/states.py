"""The records that the planners decide over, read from the catalog and the files: no network, no decisions."""

import os
from pathlib import Path

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.planning import ProjectState, VideoState


def project_states(platform: Platform) -> list[ProjectState]:
    """Return every project, by name."""
    return [
        ProjectState(
            row.name,
            row.config_hash,
            row.sourced_config_hash,
            {
                member.video_key: member.status
                for member in platform.catalog.members(row.name)
                if member.status is not ProjectVideoStatus.REJECTED
            },
        )
        for row in platform.catalog.projects()
    ]


def _modified_by_key(folder: Path) -> dict[str, float]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name[: -len(".npz")]: entry.stat().st_mtime for entry in entries if entry.name.endswith(".npz")}


def video_states(platform: Platform, rows: list[VideoRow]) -> list[VideoState]:
    """Return what the planners know of these videos, in the same order.

    Embeddings count as present if their file is not older than the frames: reading every file's fingerprint would
    cost a tick too much, and the operation compares those itself.
    """
    layout = platform.layout
    embedded = _modified_by_key(layout.embeddings / platform.models.filter_encoder_name)

    def is_embedded(row: VideoRow) -> bool:
        if row.status is not VideoStatus.EXTRACTED or row.key not in embedded:
            return False
        table = layout.frames_table(row.key)
        return table.exists() and embedded[row.key] >= table.stat().st_mtime

    return [VideoState(row.key, row.status, row.retry_after, is_embedded(row)) for row in rows]
