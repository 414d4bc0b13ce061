from importlib.util import find_spec

import pytest

from data_miner_dagster.domain.statuses import (
    PROJECT_TRANSITIONS,
    PROJECT_WAY,
    STAGE_AFTER,
    TABLE_STAGES,
    ProjectStage,
    asset_before,
)

P = ProjectStage


def test_project_way__is_in_the_order_of_the_stages() -> None:
    steps = [step for stage, place in PROJECT_WAY.items() for step in (place.waiting, stage)]
    assert [*steps, P.COMPLETE, P.FAILED] == list(ProjectStage)


def test_project_way__stages_have_the_words_of_every_other_room() -> None:
    words = [stage.word for stage in PROJECT_WAY]
    assert words == ["filtering", "deduplication", "detection", "releasing"]
    for room in ("operations", "stages", "config", "assets", "asset_checks"):
        assert [word for word in words if find_spec(f"data_miner_dagster.{room}.{word}") is None] == []


def test_project_way__every_stage_but_the_last_makes_a_table_of_its_own() -> None:
    assert (P.FILTERING, P.DEDUPLICATION, P.DETECTION) == TABLE_STAGES
    tables = [PROJECT_WAY[stage].table for stage in TABLE_STAGES]
    assert tables == ["filtered.parquet", "deduplicated.parquet", "detections.parquet"]


def test_stage_after__waits_for_the_next() -> None:
    assert STAGE_AFTER == {
        P.FILTERING: P.DEDUPLICATION_READY,
        P.DEDUPLICATION: P.DETECTION_READY,
        P.DETECTION: P.RELEASING_READY,
        P.RELEASING: P.COMPLETE,
    }


def test_asset_before__is_what_a_stage_works_on() -> None:
    worked_on = {stage: asset_before(stage) for stage in (P.DEDUPLICATION, P.DETECTION, P.RELEASING)}
    assert worked_on == {
        P.DEDUPLICATION: "filtered_frames",
        P.DETECTION: "deduplicated_frames",
        P.RELEASING: "detections",
    }


def test_asset_before__of_the_first_stage_there_is_none() -> None:
    with pytest.raises(ValueError, match="is not in list"):
        asset_before(P.FILTERING)


def test_project_transitions__a_stage_is_left_forward_only_by_itself() -> None:
    for waiting in (P.DEDUPLICATION_READY, P.DETECTION_READY, P.RELEASING_READY, P.COMPLETE):
        reached_from = {stage for stage, targets in PROJECT_TRANSITIONS.items() if waiting in targets}
        before = {stage for stage, after in STAGE_AFTER.items() if after is waiting}
        itself = {stage for stage, place in PROJECT_WAY.items() if place.waiting is waiting}  # interrupted
        assert reached_from == before | itself
