"""Delete the events of runs from Dagster's event log, but keep the state of each partition.

The state is the latest materialization of a partition with its metadata, the latest observation if nothing was
materialized after it, and the latest evaluation of each check. Those rows stay in place, but the id of their run is
replaced, so that Dagster treats them as events that were reported without a run. They keep their time and their storage
id, which checks refer to.
"""

from collections.abc import Collection
from typing import Final

from dagster import AssetKey, DagsterEventType
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    DynamicPartitionsTable,
    SqlEventLogStorageTable,
)
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update

from data_miner_dagster.partitions import PROJECTS, VIDEOS

_EVENTS: Final = SqlEventLogStorageTable
_CHECKS: Final = AssetCheckExecutionsTable
_MATERIALIZED: Final = DagsterEventType.ASSET_MATERIALIZATION.value
_OBSERVED: Final = DagsterEventType.ASSET_OBSERVATION.value
_EVALUATED: Final = [AssetCheckExecutionRecordStatus.SUCCEEDED.value, AssetCheckExecutionRecordStatus.FAILED.value]
_PARTITION_SETS: Final = [str(definition.name) for definition in (VIDEOS, PROJECTS)]
_A_STATEMENT: Final = 2_000


def delete_run_events(connection: Connection, run_id: str) -> tuple[int, int]:
    """Delete the events and check results of a run, except the state of partitions.

    Returns:
        A (number of deleted events, number of kept events) pair. Check results are not counted.
    """
    of_run = _EVENTS.c.run_id == run_id
    num_kept = 0
    for state in (_is_latest(_MATERIALIZED, [_MATERIALIZED]), _is_latest(_OBSERVED, [_MATERIALIZED, _OBSERVED])):
        event = func.replace(_EVENTS.c.event, _as_json(run_id), _as_json(RUNLESS_RUN_ID))
        without_run = {"run_id": RUNLESS_RUN_ID, "event": event}
        num_kept += connection.execute(update(_EVENTS).where(of_run, state).values(without_run)).rowcount
    _keep_latest_checks(connection, run_id)
    ids = select(_EVENTS.c.id).where(of_run)
    connection.execute(delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
    num_deleted = connection.execute(delete(_EVENTS).where(of_run)).rowcount
    connection.execute(delete(_CHECKS).where(_CHECKS.c.run_id == run_id))
    return num_deleted, num_kept


def delete_superseded(connection: Connection, assets: Collection[AssetKey]) -> int:
    """Delete up to 2,000 superseded events of `assets` that have no run. Return their number.

    An event is superseded if a newer one exists, or if it has no partition or a deleted one. All superseded check
    results without a run are deleted too, but are not counted.
    """
    ours = [key.to_string() for key in assets]
    is_state = or_(_is_latest(_MATERIALIZED, [_MATERIALIZED]), _is_latest(_OBSERVED, [_MATERIALIZED, _OBSERVED]))
    of_no_run = and_(
        _EVENTS.c.run_id == RUNLESS_RUN_ID,
        _EVENTS.c.asset_key.in_(ours),
        _EVENTS.c.dagster_event_type.in_([_MATERIALIZED, _OBSERVED]),
    )
    ids = list(connection.scalars(select(_EVENTS.c.id).where(of_no_run, ~is_state).limit(_A_STATEMENT)))
    connection.execute(delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
    connection.execute(delete(_EVENTS).where(_EVENTS.c.id.in_(ids)))
    checks_of_no_run = and_(_CHECKS.c.run_id == RUNLESS_RUN_ID, _CHECKS.c.asset_key.in_(ours))
    connection.execute(delete(_CHECKS).where(checks_of_no_run, ~_is_latest_check()))
    return len(ids)


def delete_reported(connection: Connection, partitions: Collection[str]) -> None:
    """Delete the events without a run that belong to one of `partitions` or to no partition."""
    of_no_run = and_(
        _EVENTS.c.run_id == RUNLESS_RUN_ID,
        or_(_EVENTS.c.partition.is_(None), _EVENTS.c.partition.in_(sorted(partitions))),
    )
    ids = select(_EVENTS.c.id).where(of_no_run)
    connection.execute(delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
    connection.execute(delete(_EVENTS).where(of_no_run))


def delete_partitions(connection: Connection, partition_set: str, keys: Collection[str]) -> None:
    """Delete `keys` from a partition set, with the events and check results that all assets have for these keys."""
    of_keys = and_(_EVENTS.c.asset_key.is_not(None), _EVENTS.c.partition.in_(keys))
    ids = select(_EVENTS.c.id).where(of_keys)
    connection.execute(delete(AssetEventTagsTable).where(AssetEventTagsTable.c.event_id.in_(ids)))
    connection.execute(delete(_EVENTS).where(of_keys))
    connection.execute(delete(_CHECKS).where(_CHECKS.c.partition.in_(keys)))
    known = DynamicPartitionsTable.c
    of_set = and_(known.partitions_def_name == partition_set, known.partition.in_(keys))
    connection.execute(delete(DynamicPartitionsTable).where(of_set))


def _is_latest(event_type: str, newer_types: Collection[str]) -> ColumnElement[bool]:
    """Return the SQL condition that an event has `event_type`, its partition exists, and there is no newer event.

    Only events with one of `newer_types`, for the same asset and partition, count as newer.
    """
    newer = _EVENTS.alias("newer")
    same = and_(
        newer.c.asset_key == _EVENTS.c.asset_key,
        newer.c.dagster_event_type.in_(newer_types),
        newer.c.partition == _EVENTS.c.partition,
        newer.c.id > _EVENTS.c.id,
    )
    return and_(
        _EVENTS.c.dagster_event_type == event_type,
        _partition_exists(_EVENTS.c.partition),
        ~exists().where(same).correlate(_EVENTS),
    )


def _partition_exists(partition: ColumnElement[str | None]) -> ColumnElement[bool]:
    keys = DynamicPartitionsTable.c
    known = exists().where(keys.partition == partition, keys.partitions_def_name.in_(_PARTITION_SETS))
    return known.correlate(_EVENTS, _CHECKS)


def _is_latest_check() -> ColumnElement[bool]:
    newer = _CHECKS.alias("newer")
    same = and_(
        newer.c.asset_key == _CHECKS.c.asset_key,
        newer.c.check_name == _CHECKS.c.check_name,
        newer.c.partition == _CHECKS.c.partition,
        newer.c.execution_status.in_(_EVALUATED),
        newer.c.id > _CHECKS.c.id,
    )
    return and_(
        _CHECKS.c.execution_status.in_(_EVALUATED),
        _partition_exists(_CHECKS.c.partition),
        ~exists().where(same).correlate(_CHECKS),
    )


def _keep_latest_checks(connection: Connection, run_id: str) -> None:
    latest = and_(_CHECKS.c.run_id == run_id, _is_latest_check())
    for check in connection.execute(select(_CHECKS).where(latest)).mappings().all():
        earlier = and_(  # an earlier result without a run, since the unique index allows only one per partition
            _CHECKS.c.run_id == RUNLESS_RUN_ID,
            *(_CHECKS.c[name] == check[name] for name in ("asset_key", "check_name", "partition")),
        )
        connection.execute(delete(_CHECKS).where(earlier))
        event = str(check["evaluation_event"]).replace(_as_json(run_id), _as_json(RUNLESS_RUN_ID))
        without_run = {"run_id": RUNLESS_RUN_ID, "evaluation_event": event}
        connection.execute(update(_CHECKS).where(_CHECKS.c.id == check["id"]).values(without_run))


def _as_json(run_id: str) -> str:
    """Return the entry `"run_id": "<id>"` as it appears in an event's JSON.

    Callers replace the whole entry, since the id alone may also occur elsewhere in the event, for example as a code
    version.
    """
    return f'"run_id": "{run_id}"'
