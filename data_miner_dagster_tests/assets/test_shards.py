"""Runs that join the work on a project, as Dagster executes them."""

from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.gates import open_gate
from data_miner_dagster.catalog.holds import hold_items, release_holds
from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.shards import find_plan, num_open_shards
from data_miner_dagster.catalog.work_tables import StageGateRow
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.jobs import SHARE_JOB_BY_STAGE, config_of
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster_tests.operations.detection.planted_boxes import planted
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, ColourDetector

STAGE = WorkStage.DETECTION
JOB = SHARE_JOB_BY_STAGE[STAGE]


def test_join_in__makes_shards_unless_the_stage_is_held_or_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector, num_frames=129)
    database = platform.database
    detector.dies_at_batch, detector.dies_of = 0, KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        detect_project(platform, PROJECT)
    detector.dies_at_batch = None
    plan = find_plan(database, STAGE, PROJECT)
    assert plan is not None
    monkeypatch.setattr("data_miner_dagster.resources.platform.open_platform", lambda: platform)

    def run(instance: dg.DagsterInstance) -> int:
        result = defs.resolve_job_def(JOB).execute_in_process(
            instance=instance, run_config={"ops": config_of(JOB, project=PROJECT)}
        )
        assert result.success
        return num_open_shards(database, plan)

    with dg.DagsterInstance.ephemeral() as instance:
        hold_items(database, project=PROJECT, reason="paused")
        assert run(instance) == 13
        release_holds(database, project=PROJECT)
        with database.transaction() as session:
            values = {"closed_at": utc_now(), "closed_until": utc_now(), "kind": "disk_full", "reason": "full"}
            session.add(StageGateRow(stage=STAGE, **values))
        assert run(instance) == 13
        with database.transaction() as session:
            open_gate(session, STAGE)
        assert run(instance) == 0
    assert find_leases(database) == []
    assert detect_project(platform, PROJECT).counts["frames"] == 130
    assert detector.batch_sizes == [2] * 65
