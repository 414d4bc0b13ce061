"""Runs that process batches of videos, which are lists of keys in any order rather than ranges of partitions.

Belongs here: the configuration of such a run, and its events about videos. Does not belong here: choosing the next
batch (operations/draining.py), or the assets' own runs (outcomes.py).
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import dagster as dg
from pydantic import Field

from data_miner_dagster.assets.outcomes import (
    MetadataOf,
    VideoEvents,
    faults_logged,
    line_of_counts,
    one_line_failures,
)
from data_miner_dagster.assets.previews import download_metadata, frames_metadata, video_metadata
from data_miner_dagster.catalog.batches import Batch, items_of, open_batches
from data_miner_dagster.catalog.in_flight import is_more_coming
from data_miner_dagster.catalog.pending import is_project_settled, projects_of
from data_miner_dagster.catalog.room import waiting_for_room
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.domain.work import ASSETS, VIDEO_STAGES, WorkStage
from data_miner_dagster.operations.draining import DRAIN_SECONDS, NO_BATCH, PATIENCE_SECONDS, Drain, drain
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preparing import Preparation
from data_miner_dagster.operations.progress import telling_progress
from data_miner_dagster.partitions import VIDEOS, add_partitions

_FRESH_SECONDS: Final = 3.0
"""How many seconds to wait for due work. This is longer than an incomplete batch waits for more videos."""
_ROOM_PATIENCE: Final = 60.0
"""How many seconds downloads wait for space under the quota if none is freed."""
_SOON_SECONDS: Final = 1.0
"""How many seconds `data-miner run` waits before it takes an incomplete batch. A person is waiting for the run."""
_MOST_DOWNLOADS: Final = 200
"""The maximum number of downloads in a batch of `data-miner run`.

It is higher than for other runs, because the last downloads of each batch leave slots idle.
"""


class BatchConfig(dg.Config):
    """The run configuration of a job that works on videos."""

    batch: int | None = None
    """The id of the batch with the videos in `keys`, or None if they do not belong to a batch in the catalog."""
    keys: list[str] = Field(default_factory=list)
    """The keys of the videos, in any order."""
    project: str | None = None
    """The only project to take further batches from, or None for all projects."""
    drain: bool = False
    """Whether to take further batches from the catalog after this one."""
    force: bool = False
    """Whether to redo the work even if its result is current."""


def work_off(
    context: dg.OpExecutionContext,
    platform: Platform,
    stage: WorkStage,
    rivals: Collection[WorkStage],
    config: BatchConfig,
) -> None:
    """Process the videos of a run, and log a materialization or an observation for each video as soon as it is done.

    If `config.drain` is True, the run then takes further batches from the catalog for up to 15 minutes.

    Args:
        context: the step's context.
        platform: the platform.
        stage: the stage to run on the videos.
        rivals: the other stages that use the same pool. The run takes no further batch while one of them has waiting
            work.
        config: the run configuration with the videos.
    """
    started = time.monotonic()

    def may_take() -> bool:
        if not config.drain or time.monotonic() - started > DRAIN_SECONDS:
            return False
        return not any(batch.stage in rivals and batch.run_id is None for batch in open_batches(platform.database))

    first = None
    if config.keys:
        is_open = config.batch is not None and bool(items_of(platform.database, config.batch))
        first = Batch(config.batch if is_open and config.batch else NO_BATCH, stage, tuple(config.keys))
    work = drain_of(context, platform, (stage,), project=config.project, force=config.force)

    def may_wait(idle: float) -> bool:
        return config.drain and idle < PATIENCE_SECONDS and is_more_coming(platform.database, stage)

    with (
        one_line_failures(context),
        faults_logged(context),
        telling_progress(platform, config.project),
        Preparation(platform, loads_models=False) as preparation,
    ):
        counts = drain(preparing(work, preparation), first, may_take=may_take, may_wait=may_wait)
    context.log.info(line_of_counts(counts))


def drain_of(
    context: dg.OpExecutionContext,
    platform: Platform,
    stages: tuple[WorkStage, ...],
    *,
    project: str | None = None,
    force: bool = False,
    max_items: Mapping[WorkStage, int] | None = None,
) -> Drain:
    """Return a `Drain` that processes batches of `stages` in a step and reports each video to Dagster.

    The videos of each batch are added to Dagster's partitions.

    Args:
        context: the step's context.
        platform: the platform.
        stages: the stages to run.
        project: the only project to take batches from, or None for all projects.
        force: whether to redo work whose result is current.
        max_items: the maximum number of videos in a batch, for stages whose usual limit does not apply.
    """
    drawn: dict[WorkStage, MetadataOf] = {
        WorkStage.DOWNLOADING: lambda outcome: download_metadata(platform, outcome.video_key),
        WorkStage.EXTRACTION: lambda outcome: frames_metadata(platform, outcome.video_key),
        WorkStage.EMBEDDING: lambda outcome: video_metadata(outcome.video_key),
    }
    events = {stage: VideoEvents(context, dg.AssetKey(ASSETS[stage]), drawn[stage]) for stage in stages}
    return Drain(
        platform,
        stages,
        context.run.run_id,
        report=lambda stage, outcome: events[stage].log(outcome),
        on_batch=lambda batch: add_partitions(context.instance, VIDEOS, batch.items),
        project=project,
        max_items=max_items or {},
        force=force,
    )


def preparing(work: Drain, preparation: Preparation) -> Drain:
    """Return a copy of `work` that also prepares a project's build once its videos have new embeddings."""
    projects: set[str] = set()

    def on_batch(batch: Batch) -> None:
        work.on_batch(batch)
        if batch.stage is WorkStage.EMBEDDING:
            with work.platform.database.reading() as session:
                projects.update(projects_of(session, batch.items) if work.project is None else [work.project])

    def report(stage: WorkStage, outcome: VideoOutcome) -> None:
        work.report(stage, outcome)
        if stage is WorkStage.EMBEDDING and outcome.status is OutcomeStatus.DONE:
            preparation.begin(projects)

    return replace(work, on_batch=on_batch, report=report)


def work_off_project(context: dg.OpExecutionContext, platform: Platform, config: BatchConfig) -> None:
    """Download, extract and embed the videos of `config.project`, with the stages in parallel, until no work is due."""
    assert config.project is not None
    work = drain_of(
        context,
        platform,
        VIDEO_STAGES,
        project=config.project,
        force=config.force,
        max_items={WorkStage.DOWNLOADING: _MOST_DOWNLOADS},
    )
    work = replace(work, full_seconds=_SOON_SECONDS)

    def may_wait(idle: float) -> bool:
        with platform.database.reading() as session:
            if is_project_settled(session, str(config.project), platform.database.now(session)):
                return False
        return idle < _FRESH_SECONDS or (
            idle < _ROOM_PATIENCE and bool(waiting_for_room(platform.database, str(config.project)))
        )

    with (
        one_line_failures(context),
        faults_logged(context),
        telling_progress(platform, config.project),
        Preparation(platform, loads_models=True) as preparation,
    ):
        counts = drain(preparing(work, preparation), may_take=lambda: True, may_wait=may_wait)
    context.log.info(line_of_counts(counts))
