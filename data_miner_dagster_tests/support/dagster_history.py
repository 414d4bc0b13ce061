"""What Dagster stores about a project: runs, events, checks, partitions, ticks, backfills, cursors."""

import base64

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from data_miner_dagster.deployment import existing_instance, prepare_dagster_home
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PROJECTS, VIDEOS

KEYS = ["files-aaa", "files-bbb"]
PICTURE = "data:image/webp;base64," + base64.b64encode(b"a picture of a forgotten video").decode()


def make_history(platform: Platform) -> None:
    """Execute runs for two videos and the project, with everything else that Dagster stores about them."""
    with existing_instance(prepare_dagster_home(platform.layout)) as instance:
        instance.add_dynamic_partitions(str(VIDEOS.name), KEYS)
        instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists"])

        @dg.asset(partitions_def=VIDEOS)
        def frames(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            context.log.info(f"looking at {context.partition_key}")
            return dg.MaterializeResult(metadata={"preview": dg.MetadataValue.md(PICTURE)})

        @dg.asset(partitions_def=PROJECTS)
        def dataset() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(metadata={"preview": dg.MetadataValue.md(PICTURE)})

        @dg.asset_check(asset=frames)
        def is_whole(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True, metadata={"of": context.run.tags["dagster/partition"]})

        for key in reversed(KEYS):  # the video to be forgotten comes last
            tags = {"data_miner/asked by": f"the author of {key}"}
            assert dg.materialize([frames, is_whole], partition_key=key, instance=instance, tags=tags).success
            make_records_of_daemon(instance, key)
        dg.materialize([dataset], partition_key="cyclists", instance=instance, tags={"data_miner/batch": "1"})


def make_records_of_daemon(instance: dg.DagsterInstance, key: str) -> None:
    """Store a finished backfill, a sensor's tick and a cursor, all of which name a video."""
    backfill = PartitionBackfill(
        backfill_id=f"of{key[-3:]}",
        status=BulkActionStatus.COMPLETED_SUCCESS,
        from_failure=False,
        tags={"why": f"{key} came late"},
        backfill_timestamp=0.0,
        partition_names=[key],
    )
    instance.add_backfill(backfill)
    origin = RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), "x"), "__repository__"
    ).get_instigator_origin("videos")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    if not instance.all_instigator_state():
        instance.add_instigator_state(state)
    tick = TickData(origin.get_id(), "videos", InstigatorType.SENSOR, TickStatus.SKIPPED, 0.0, skip_reason=key)
    instance.create_tick(tick)
    instance.run_storage.set_cursor_values({f"seen {key}": key})
