"""The stage that a project needs next, and the reason why it waits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.sensors.planning import (
    FailedStage,
    ProjectState,
    next_stage,
    standing_failure,
    why_not_yet,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = ProjectState(
    "p",
    ProjectStage.COMPLETE,
    is_sourced=True,
    is_withdrawn=False,
    config_hash="config",
    basis="basis",
    built_basis="basis",
)
FAILED = FailedStage(WorkStage.DETECTION, NOW, "basis", "no such class")


def test_next_stage__nothing_for_what_is_built() -> None:
    assert next_stage(PROJECT, None) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_sourced": False}, WorkStage.SOURCING),
        ({"basis": "another"}, WorkStage.FILTERING),
        ({"built_basis": None, "stage": ProjectStage.SOURCING}, WorkStage.FILTERING),
        ({"stage": ProjectStage.FAILED}, WorkStage.FILTERING),
        ({"stage": ProjectStage.FILTERING}, WorkStage.FILTERING),  # left by a dead worker
        ({"stage": ProjectStage.DEDUPLICATION_READY}, WorkStage.DEDUPLICATION),
        ({"stage": ProjectStage.DETECTION_READY, "basis": "another"}, WorkStage.DETECTION),  # the build continues
        ({"stage": ProjectStage.RELEASING_READY}, WorkStage.RELEASING),
        ({"stage": ProjectStage.RELEASING}, WorkStage.RELEASING),
    ],
)
def test_next_stage__by_where_a_project_stands(changes: dict[str, object], expected: WorkStage) -> None:
    assert next_stage(replace(PROJECT, **changes), None) is expected  # type: ignore[arg-type]


def test_next_stage__a_failed_build_begins_again_and_a_failed_check_lets_nothing_pass() -> None:
    assert next_stage(replace(PROJECT, stage=ProjectStage.FAILED), FAILED) is WorkStage.FILTERING
    unchecked = replace(PROJECT, stage=ProjectStage.RELEASING_READY)
    assert next_stage(unchecked, FAILED) is WorkStage.DETECTION


def test_standing_failure__a_date_counts_whatever_changed_and_a_lasting_one_for_its_inputs() -> None:
    assert standing_failure(PROJECT, []) is None
    assert standing_failure(replace(PROJECT, basis="another"), [FAILED]) == FAILED
    lasting = replace(FAILED, due_at=None)
    assert standing_failure(PROJECT, [lasting]) == lasting
    assert standing_failure(replace(PROJECT, basis="another"), [lasting]) is None
    listing = FailedStage(WorkStage.SOURCING, None, "config", "no such file")
    assert standing_failure(replace(PROJECT, basis="another"), [lasting, listing]) == listing
    assert standing_failure(replace(PROJECT, config_hash="another"), [listing]) is None


def test_why_not_yet__says_what_failed_in_which_run_and_what_to_do() -> None:
    assert why_not_yet(PROJECT, None, NOW) is None
    assert why_not_yet(PROJECT, FAILED, NOW) is None
    later = replace(FAILED, due_at=NOW + timedelta(hours=1), run_id="1a2b3c4d-5e6f")
    assert why_not_yet(PROJECT, later, NOW) == (
        "detection failed: no such class (run 1a2b3c4d); it is retried after 2026-01-01 01:00 UTC; run "
        "`data-miner retry --project p` to retry it now"
    )
    assert why_not_yet(replace(PROJECT, config_file="/x/p.yaml"), replace(FAILED, due_at=None), NOW) == (
        "detection failed: no such class; it waits until something changes: edit /x/p.yaml, or run "
        "`data-miner retry --project p`"
    )
