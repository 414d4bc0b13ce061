"""Create run requests for batches and shards, and count how many more runs may be requested.

Does not belong here: choosing batches (videos.py, projects.py).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import dagster as dg

from data_miner_dagster.assets.outcomes import MAX_RETRIES_TAG, NO_RETRIES
from data_miner_dagster.catalog.batches import Batch, OpenBatch
from data_miner_dagster.catalog.shards import ShardPlan
from data_miner_dagster.catalog.work_tables import RunLeaseRow
from data_miner_dagster.domain.work import BATCH_TAG, VIDEO_STAGES, WorkStage
from data_miner_dagster.jobs import JOB_BY_STAGE, POOL_BY_STAGE, SHARE_JOB_BY_STAGE, STAGE_BY_JOB, config_of

PROJECTS_TAG: Final = "project"
"""The tag that names the projects that need a requested run."""
VIDEOS_TAG: Final = "videos"
"""The tag that holds a requested run's number of videos."""
_MOST_NAMES: Final = 5


def request_of(batch: Batch, projects: Sequence[str], *, force: bool = False) -> dg.RunRequest:
    """Return the run request for a batch. Its run key is never reused, even if Dagster's history is lost.

    Dagster does not retry the run. Unfinished work is requested again in another batch when it is due.

    Args:
        batch: the batch.
        projects: the names of the projects that need the run, for its tags.
        force: whether to redo a project's stage even if its result is current. Batches of videos ignore it.
    """
    job = JOB_BY_STAGE[batch.stage]
    tags = {BATCH_TAG: str(batch.id), MAX_RETRIES_TAG: NO_RETRIES, PROJECTS_TAG: named(projects)}
    is_of_videos = batch.stage in VIDEO_STAGES
    if is_of_videos:
        tags[VIDEOS_TAG] = str(len(batch.items))
        config = config_of(job, batch=batch.id, keys=list(batch.items), drain=True)
    else:
        config = config_of(job, force=True) if force else {}
    return dg.RunRequest(
        run_key=f"batch:{batch.id}",
        job_name=job,
        partition_key=None if is_of_videos else batch.items[0],
        run_config={"ops": config} if config else None,
        tags=tags,
    )


def request_of_share(plan: ShardPlan, number: int) -> dg.RunRequest:
    """Return the request for a run that helps with a project. `number` is the run's number in the plan."""
    job = SHARE_JOB_BY_STAGE[plan.stage]
    return dg.RunRequest(
        run_key=f"shards:{plan.id}:{number}",
        job_name=job,
        run_config={"ops": config_of(job, project=plan.project)},
        tags={MAX_RETRIES_TAG: NO_RETRIES, PROJECTS_TAG: plan.project},
    )


def named(names: Sequence[str]) -> str:
    """Return up to five of the names as one string, followed by the number of further names if there are any."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


class Room:
    """Keeps count of how many more runs may be requested for each stage.

    A stage may have as many runs as its pool has slots, even if other stages use the same pool, and one more if it
    works on projects. A stage without runs may always have one.
    """

    def __init__(
        self, instance: Callable[[], dg.DagsterInstance], batches: Sequence[OpenBatch], leases: Sequence[RunLeaseRow]
    ) -> None:
        self._instance = instance
        at_work = [STAGE_BY_JOB[lease.job] for lease in leases if lease.job in STAGE_BY_JOB]
        self._num_runs = Counter([*at_work, *(batch.stage for batch in batches if batch.run_id is None)])
        self._num_sharing = Counter(
            stage for lease in leases for stage, job in SHARE_JOB_BY_STAGE.items() if lease.job == job
        )

    def has(self, stage: WorkStage) -> bool:
        """Return whether one more run of a stage may be requested."""
        if self._num_runs[stage] == 0:
            return True
        # Runs of videos take further batches themselves. A waiting request would withhold its batch from them.
        extra = 0 if stage in VIDEO_STAGES else 1
        return self._num_runs[stage] < self._limits.get(POOL_BY_STAGE[stage], self._default_limit) + extra

    def num_places(self, stage: WorkStage) -> int:
        """Return the number of slots in a stage's pool that are neither in use nor needed by waiting runs."""
        pool = POOL_BY_STAGE[stage]
        taken = (self._num_runs + self._num_sharing).items()
        limit = self._limits.get(pool, self._default_limit)
        return max(0, limit - sum(number for other, number in taken if POOL_BY_STAGE[other] == pool))

    def take_share(self, stage: WorkStage, number: int) -> None:
        """Record that `number` more runs that help with a stage have been requested."""
        self._num_sharing[stage] += number

    def take(self, stage: WorkStage) -> None:
        """Record that one more run of a stage has been requested."""
        self._num_runs[stage] += 1

    @cached_property
    def _limits(self) -> dict[str, int]:
        return {limit.name: limit.limit for limit in self._instance().event_log_storage.get_pool_limits()}

    @cached_property
    def _default_limit(self) -> int:
        limit = self._instance().get_concurrency_config().pool_config.default_pool_limit
        return 1 if limit is None else limit
