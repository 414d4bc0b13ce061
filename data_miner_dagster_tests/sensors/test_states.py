"""The failures of projects, as they are in the catalog."""

import pytest

from data_miner_dagster.catalog.attempts import charge_failure
from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.states import stopped_projects
from data_miner_dagster_tests.support.catalog import add_project


@pytest.mark.parametrize(
    "stages", [(WorkStage.FILTERING, WorkStage.RELEASING), (WorkStage.RELEASING, WorkStage.FILTERING)]
)
def test_stopped_projects__whose_inputs_are_unknown_show_the_earliest_stage(
    platform: Platform, stages: tuple[WorkStage, ...]
) -> None:
    add_project(platform.database, "bikes")
    with platform.database.transaction() as session:
        for stage in stages:  # in the order of the attempts
            charge_failure(session, stage, "bikes", Failure(FailureKind.FAILED, f"{stage} failed"))
    update_project(platform.database, "bikes", config={"filtering": {"images": "of another version"}})
    (stopped,) = stopped_projects(platform)
    assert stopped.failed.stage is WorkStage.FILTERING
