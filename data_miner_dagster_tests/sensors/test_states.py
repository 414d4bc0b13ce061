"""The failures of projects, as stored in the catalog."""

import pytest

from data_miner_dagster.catalog.attempts import charge_failure
from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.states import project_states, stopped_projects
from data_miner_dagster_tests.support.catalog import add_project


@pytest.mark.parametrize(
    "stages", [(WorkStage.FILTERING, WorkStage.RELEASING), (WorkStage.RELEASING, WorkStage.FILTERING)]
)
def test_stopped_projects__whose_inputs_are_unknown_show_the_earliest_stage(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, stages: tuple[WorkStage, ...]
) -> None:
    add_project(platform.database, "bikes")
    with platform.database.transaction() as session:
        for stage in stages:  # the order of the attempts
            charge_failure(session, stage, "bikes", Failure(FailureKind.FAILED, f"{stage} failed"))

    def without_a_model(*_arguments: object) -> str:
        raise ModelError("the folder of a model is missing")

    monkeypatch.setattr("data_miner_dagster.sensors.states.present_basis", without_a_model)
    (stopped,) = stopped_projects(platform)
    assert stopped.failed.stage is WorkStage.FILTERING


def test_project_states__settings_of_one_project_that_do_not_fit_this_version_hide_no_other(platform: Platform) -> None:
    for name in ("bikes", "cars"):
        add_project(platform.database, name)
    update_project(platform.database, "bikes", config={"filtering": {"images": "of another version"}})
    assert {state.name for state in project_states(platform)} == {"bikes", "cars"}
