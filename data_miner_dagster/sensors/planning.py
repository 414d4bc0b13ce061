"""The sensors' decisions as pure functions: request what is wanted, not done and not in flight.

Belongs here: decisions over plain records. Does not belong here: Dagster's instance, the catalog, files, the network.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.jobs import DOWNLOAD_VIDEOS, EMBED_FRAMES, EXTRACT_FRAMES
from data_miner_dagster.partitions import PartitionRange, plan_ranges
from data_miner_dagster.stages.downloading.failures import backoff_seconds

MAX_KEYS_PER_RUN: Final = 25
"""Size limit of every range run that a sensor or `data-miner run` requests, in any stage."""

MAX_FAILED_RUNS: Final = 3
"""After this many failed runs (not failed videos), a piece of work waits, longer after each further failure."""


@dataclass(frozen=True, slots=True)
class VideoState:
    """What the planner knows about one wanted video."""

    key: str
    status: VideoStatus
    retry_after: datetime | None
    has_file: bool
    is_embedded: bool


@dataclass(frozen=True, slots=True)
class ProjectState:
    """What the planner knows about one project."""

    name: str
    config_hash: str
    sourced_config_hash: str | None
    models: str  # changes with any of the platform's models
    is_withdrawn: bool = False  # its file has disappeared from the watched folder
    verdicts: str | None = None  # changes with people's verdicts on its frames; None if there are none


@dataclass(frozen=True, slots=True)
class StageWork:
    """Videos that one job should process, and finished videos that its ranges may include at no cost."""

    job: str
    wanted: tuple[str, ...]
    finished: tuple[str, ...]


def _may_try(video: VideoState, now: datetime) -> bool:
    return video.retry_after is None or video.retry_after <= now


def _is_due(video: VideoState, now: datetime) -> bool:
    """Return whether a retry date is set and has passed."""
    return video.retry_after is not None and video.retry_after <= now


def plan_video_work(videos: Sequence[VideoState], now: datetime, *, wait_for_others: bool = False) -> list[StageWork]:
    """Return what each per-video job should process now, in the order of the pipeline.

    A failed or unavailable video is requested again only if it has a retry date that has passed. A video that another
    worker is processing is skipped, unless `wait_for_others` is set: the run then waits for the claim, and either finds
    the work done or takes it over.
    """
    wanted: dict[str | None, list[str]] = {}
    for video in videos:
        wanted.setdefault(_job_for(video, now, wait_for_others=wait_for_others), []).append(video.key)
    downloaded = tuple(v.key for v in videos if v.status in (VideoStatus.DOWNLOADED, VideoStatus.EXTRACTED))
    extracted = tuple(v.key for v in videos if v.status is VideoStatus.EXTRACTED)
    embedded = tuple(v.key for v in videos if v.status is VideoStatus.EXTRACTED and v.is_embedded)
    return [
        StageWork(DOWNLOAD_VIDEOS, tuple(wanted.get(DOWNLOAD_VIDEOS, ())), downloaded),
        StageWork(EXTRACT_FRAMES, tuple(wanted.get(EXTRACT_FRAMES, ())), extracted),
        StageWork(EMBED_FRAMES, tuple(wanted.get(EMBED_FRAMES, ())), embedded),
    ]


def _job_for(video: VideoState, now: datetime, *, wait_for_others: bool) -> str | None:
    """Return the job that should process a video now, or None."""
    match video.status:
        case VideoStatus.DOWNLOADING | VideoStatus.EXTRACTING if not wait_for_others:
            return None
        case VideoStatus.DOWNLOADING:
            return DOWNLOAD_VIDEOS
        case VideoStatus.EXTRACTING:
            return EXTRACT_FRAMES
        case VideoStatus.PENDING:
            return DOWNLOAD_VIDEOS if _may_try(video, now) else None
        case VideoStatus.DOWNLOADED:
            return EXTRACT_FRAMES if _may_try(video, now) else None
        case VideoStatus.EXTRACTED:
            return None if video.is_embedded else EMBED_FRAMES
        case VideoStatus.FAILED if _is_due(video, now) and video.has_file:
            return EXTRACT_FRAMES  # a video that failed after its download is not downloaded again
        case VideoStatus.FAILED | VideoStatus.UNAVAILABLE:
            return DOWNLOAD_VIDEOS if _is_due(video, now) else None


def plan_stage_ranges(
    work: StageWork, ordered_keys: Sequence[str], in_flight: Collection[str], *, max_keys: int, max_ranges: int
) -> list[PartitionRange]:
    """Return at most `max_ranges` ranges that cover the stage's wanted keys and contain no key in flight."""
    busy = set(in_flight)
    wanted = [key for key in work.wanted if key not in busy]
    bridges = [key for key in work.finished if key not in busy]
    return plan_ranges(ordered_keys, wanted, max_keys=max_keys, bridges=bridges)[:max_ranges]


def next_try_at(num_failed: int, last_failed_at: datetime | None, config: DownloadingConfig) -> datetime | None:
    """Return when work is due again after `num_failed` failed runs; None means at once.

    The cause may be temporary (a disk that was unmounted, too little memory), so the work is never abandoned.
    """
    if num_failed < MAX_FAILED_RUNS or last_failed_at is None:
        return None
    return last_failed_at + timedelta(seconds=backoff_seconds(num_failed - MAX_FAILED_RUNS + 1, config))


def needs_sourcing(project: ProjectState) -> bool:
    """Return whether a project's sources have not been listed with its present configuration."""
    return project.sourced_config_hash != project.config_hash


def is_settled(video: VideoState, now: datetime) -> bool:
    """Return whether a video needs no more work for now: it is embedded, or it failed and no retry is due."""
    if video.status is VideoStatus.EXTRACTED:
        return video.is_embedded
    return video.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE) and not _is_due(video, now)


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """Whether a project's dataset should be built now. `inputs` is the fingerprint of what it would be built from."""

    is_ready: bool
    inputs: str
    reason: str

    def work_of(self, project: str, job: str) -> str:
        """Return the identity of one stage's work, as runs carry it in a tag."""
        return fingerprint_of({"job": job, "project": project, "inputs": self.inputs})


def plan_dataset(
    project: ProjectState,
    videos: Sequence[VideoState],
    now: datetime,
    *,
    wait_for_all: bool,
    min_new_videos: int,
    num_released_videos: int,
) -> DatasetPlan:
    """Return whether a project's dataset can be built now.

    With `wait_for_all` the project is ready when every member has settled. Without it, the project is also ready as
    soon as `min_new_videos` more videos are embedded than at the last release.
    """
    embedded = sorted(video.key for video in videos if video.status is VideoStatus.EXTRACTED and video.is_embedded)
    said = {"verdicts": project.verdicts} if project.verdicts is not None else {}
    inputs = fingerprint_of({"config": project.config_hash, "models": project.models, "videos": embedded, **said})
    if needs_sourcing(project):
        return DatasetPlan(False, inputs, "its sources have not been listed yet")
    if not videos:
        return DatasetPlan(False, inputs, "it has no videos")
    num_open = sum(1 for video in videos if not is_settled(video, now))
    if num_open == 0:
        return DatasetPlan(True, inputs, "all its videos have settled")
    num_new = len(embedded) - num_released_videos
    if not wait_for_all and num_new >= min_new_videos:
        return DatasetPlan(True, inputs, f"{num_new} new videos are ready")
    return DatasetPlan(False, inputs, f"{num_open} of {len(videos)} videos are on their way")
