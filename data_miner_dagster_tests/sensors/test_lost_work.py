"""Batches whose runs have ended are found even if the events of another run cannot be read."""

from pathlib import Path

import dagster as dg

from data_miner_dagster.catalog.batches import open_batches, set_run, take_batch
from data_miner_dagster.domain.work import BATCH_TAG, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.requests import request_of
from data_miner_dagster_tests.sensors.ticks import (
    Lines,
    add_members,
    drop_project,
    keys_of,
    list_projects,
    requests_of,
    run_of,
    tick,
)

KEYS = [f"generic-{index:04d}" for index in range(50)]


def test_wanted_work__a_run_whose_events_are_damaged_holds_up_no_other_batch(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS)
    (first,) = requests_of(tick(instance))
    batch = take_batch(platform.database, WorkStage.DOWNLOADING)
    assert batch is not None
    second = request_of(batch, batch.items)
    for request in (first, second):
        run = run_of(instance, request, dg.DagsterRunStatus.FAILURE)
        set_run(platform.database, int(request.tags[BATCH_TAG]), run.run_id)
        if request is first:
            (Path(instance.root_directory) / "history" / "runs" / f"{run.run_id}.db").write_bytes(b"no database" * 500)
    before = {batch.id for batch in open_batches(platform.database)}
    assert len(before) == 2
    lines = Lines()
    again = requests_of(tick(instance, lines))
    assert before.isdisjoint(batch.id for batch in open_batches(platform.database)), lines.logged
    assert {key for request in again for key in keys_of(request)} <= set(KEYS)
