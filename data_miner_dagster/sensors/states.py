"""Read the planners' input records from the catalog and the files. No network, no decisions."""

import os
from functools import partial
from pathlib import Path

from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.videos import WantedVideo, wanted_videos
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import is_withdrawn
from data_miner_dagster.sensors.planning import ProjectState, VideoState
from data_miner_dagster.storage.frames import frames_modified_ns


def project_states(platform: Platform) -> list[ProjectState]:
    """Return the state of every project, ordered by name."""
    models = fingerprint_of({"models": [role.fingerprint for role in platform.models.roles]})

    def state_of(row: ProjectRow) -> ProjectState:
        is_gone = attempt_alone("projects", row.name, partial(is_withdrawn, platform, row))
        verdicts = platform.layout.frame_verdicts(row.name)
        said = sha256_of_file(verdicts) if verdicts.is_file() else None
        return ProjectState(row.name, row.config_hash, row.sourced_config_hash, models, is_gone is True, said)

    return [state_of(row) for row in find_projects(platform.database)]


def _modified_ns_by_key(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {
            entry.name[: -len(".npz")]: entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".npz")
        }


def video_states(platform: Platform, project: str | None = None) -> list[VideoState]:
    """Return the state of the videos that `project` wants (None: that any project wants), ordered by key.

    Embeddings count as present if their file is not older than the frames. Reading every file's fingerprint would slow
    the tick down too much, and the operation compares fingerprints itself. A video whose frames were deleted counts as
    downloaded, so that they are extracted again.
    """
    layout = platform.layout
    embedded = _modified_ns_by_key(layout.embeddings / platform.models.filter_encoder.name)

    def state_of(video: WantedVideo) -> VideoState:
        status, is_embedded = video.status, False
        if status is VideoStatus.EXTRACTED:
            try:
                extracted_ns = frames_modified_ns(layout, video.key)
            except FileNotFoundError:
                status = VideoStatus.DOWNLOADED
            except OSError:
                pass  # treated as not embedded: the stage reports what is wrong with this video
            else:
                is_embedded = embedded.get(video.key, -1) >= extracted_ns
        return VideoState(video.key, status, video.retry_after, video.has_file, is_embedded)

    def attempted(video: WantedVideo) -> VideoState:
        state = attempt_alone("videos", video.key, partial(state_of, video))
        if isinstance(state, ItemFault):  # treated like a video whose files cannot be read
            return VideoState(video.key, video.status, video.retry_after, video.has_file, is_embedded=False)
        return state

    return [attempted(video) for video in wanted_videos(platform.database, project)]
