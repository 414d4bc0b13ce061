"""Read values about pools and the planning sensor from Dagster's own storage and the catalog's leases.

Dagster's storage is never created here.
"""

from typing import TYPE_CHECKING

from dagster import DagsterInstance

from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.deployment import existing_instance, name_dagster_storage, standing_dagster_home
from data_miner_dagster.jobs import POOL_BY_STAGE, stage_of_job
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.work import wanted_work

if TYPE_CHECKING:
    from data_miner_dagster.monitoring.collecting import Values


class DagsterValues:
    """The metrics about Dagster's pools and the planning sensor, for a `Collector`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._instance: DagsterInstance | None = None

    def __call__(self, values: "Values") -> None:
        """Set the slots of each pool and the time of the planning sensor's last tick in `values`.

        Nothing is set if Dagster has no storage yet.
        """
        instance = self._opened()
        if instance is None:
            return
        default = instance.get_concurrency_config().pool_config.default_pool_limit
        limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
        used = self._used()
        for pool in sorted(set(POOL_BY_STAGE.values())):
            if (limit := limits.get(pool, default)) is not None:
                values.set("pool_slots", limit, pool)
            values.set("pool_slots_used", used.get(pool, 0), pool)
        if (last := last_tick(instance)) is not None:
            values.set("last_tick_timestamp_seconds", last)

    def close(self) -> None:
        """Close Dagster's storage, if it was opened."""
        if self._instance is not None:
            self._instance.dispose()

    def _opened(self) -> DagsterInstance | None:
        if self._instance is None and (home := standing_dagster_home(self._platform.layout)) is not None:
            name_dagster_storage(self._platform)
            self._instance = existing_instance(home)
        return self._instance

    def _used(self) -> dict[str, int]:
        """Return {pool: number of slots in use}, omitting pools in which no slot is in use.

        Each run of a single stage with a live lease uses one slot, since pools limit runs rather than steps.
        """
        used: dict[str, int] = {}
        with self._platform.database.reading() as session:
            now = self._platform.database.now(session)
        for lease in find_leases(self._platform.database):
            if lease.expires_at > now and (stage := stage_of_job(lease.job)) is not None:
                used[POOL_BY_STAGE[stage]] = used.get(POOL_BY_STAGE[stage], 0) + 1
        return used


def last_tick(instance: DagsterInstance) -> float | None:
    """Return the time of the planning sensor's last tick in seconds since 1970, or None if it has never run."""
    ticks = [
        getattr(state.instigator_data, "last_tick_timestamp", None)
        for state in instance.all_instigator_state()
        if state.instigator_name == wanted_work.name
    ]
    return max((float(tick) for tick in ticks if tick is not None), default=None)
