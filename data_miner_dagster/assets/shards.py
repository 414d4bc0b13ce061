"""Runs that help another run with the work on one project. They process shards and materialize nothing.

Does not belong here: the content of a shard (operations/), or requesting such runs (sensors/).
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

import dagster as dg

from data_miner_dagster.assets.outcomes import faults_logged, one_line_failures
from data_miner_dagster.catalog.batches import open_batches
from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.holds import why_held
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.draining import DRAIN_SECONDS
from data_miner_dagster.operations.platform import Platform


class ShardConfig(dg.Config):
    """The run configuration of a job that helps with a project."""

    project: str
    """The name of the project."""


class JoinIn(Protocol):
    """A function through which a run joins the shared work of a stage."""

    def __call__(self, platform: Platform, project: str, *, may_go_on: Callable[[], bool]) -> int:
        """Process free shards of a project as long as `may_go_on` returns True, and return the number processed."""


def _join_detection(platform: Platform, project: str, *, may_go_on: Callable[[], bool]) -> int:
    from data_miner_dagster.operations.detection.shares import join_detection

    return join_detection(platform, project, may_go_on=may_go_on)


SHARED_STAGES: Final[Mapping[WorkStage, JoinIn]] = {WorkStage.DETECTION: _join_detection}
"""The stages whose work on one project can be shared, each with the function that joins it."""


def join_in(
    context: dg.OpExecutionContext,
    platform: Platform,
    stage: WorkStage,
    rivals: Collection[WorkStage],
    config: ShardConfig,
) -> None:
    """Process shards of a project until none is free, or until this run has to stop.

    The run begins no further shard after 15 minutes, once the work is held or its stage is closed, or while another run
    needs this run's slot in the pool.

    Args:
        context: the step's context.
        platform: the platform.
        stage: the current stage of the project.
        rivals: the stages that use the same pool. The run takes no further shard while one of them has waiting work.
        config: the run configuration with the project.
    """
    started = time.monotonic()
    database = platform.database

    def may_go_on() -> bool:
        if time.monotonic() - started > DRAIN_SECONDS or why_held(database, config.project, stage) is not None:
            return False
        with database.reading() as session:
            if any(gate.stage is stage for gate in closed_stages(session)):
                return False
        return not any(batch.stage in rivals and batch.run_id is None for batch in open_batches(database))

    at_work = working_on(stage=stage.value.lower(), project=config.project)
    with at_work, one_line_failures(context), faults_logged(context):
        num_made = SHARED_STAGES[stage](platform, config.project, may_go_on=may_go_on)
    context.log.info(f"{config.project}: processed {counted(num_made, 'shard')} of {stage.value.lower()}")
