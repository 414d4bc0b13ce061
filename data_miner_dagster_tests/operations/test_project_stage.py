from collections.abc import Callable
from pathlib import Path

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from sqlalchemy import text

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.domain.errors import ConfigError, DataMinerError, NotReadyError
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage, require_table
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_platform, build_project

P = ProjectStage
NAME = "bikes"


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = build_platform(tmp_path)
    save_snapshot(platform.database, NAME, {}, "hash", None)
    return platform


def put(platform: Platform, stage: ProjectStage, error: str | None = None, name: str = NAME) -> None:
    with platform.database.transaction() as session:
        row = session.get_one(ProjectRow, name)
        row.stage, row.error, row.counts = stage, error, {"videos": 3, "frames": 1}


def standing(platform: Platform, name: str = NAME) -> tuple[ProjectStage, str | None]:
    row = find_project(platform.database, name)
    assert row is not None
    return row.stage, row.error


@pytest.mark.parametrize(
    ("stage", "after"),
    [
        (P.FILTERING, P.DEDUPLICATION_READY),
        (P.DEDUPLICATION, P.DETECTION_READY),
        (P.DETECTION, P.RELEASING_READY),
        (P.RELEASING, P.COMPLETE),
    ],
)
def test_project_stage__working_then_waiting_for_the_next_from_wherever_it_stood(
    platform: Platform, stage: ProjectStage, after: ProjectStage
) -> None:
    for before in ProjectStage:
        put(platform, before, "an earlier error")
        with project_stage(platform, NAME, stage) as run:
            assert standing(platform) == (before, "an earlier error")
            run.begin()
            assert standing(platform) == (stage, None)
            assert [claim.resource for claim in live_claims(platform.database)] == ["project/bikes"]
            run.counts = {"frames": 5}
        assert standing(platform) == (after, None)
        row = find_project(platform.database, NAME)
        assert row is not None
        assert row.counts == {"videos": 3, "frames": 5}
        assert live_claims(platform.database) == []


def test_project_stage__what_is_current_only_brings_forward_who_lags_behind(platform: Platform) -> None:
    ahead = {P.RELEASING_READY, P.RELEASING, P.COMPLETE, P.DETECTION, P.DETECTION_READY}
    for before in ProjectStage:
        put(platform, before)
        with project_stage(platform, NAME, P.DEDUPLICATION):
            pass
        assert standing(platform) == (before if before in ahead else P.DETECTION_READY, None)


def work_that_raises(platform: Platform, stage: ProjectStage, error: BaseException, *, begins: bool) -> None:
    with project_stage(platform, NAME, stage) as run:
        if begins:
            run.begin()
        raise error


@pytest.mark.parametrize("begins", [False, True])
def test_project_stage__a_failure_is_on_record_with_its_stage(platform: Platform, begins: bool) -> None:
    put(platform, P.COMPLETE)
    with pytest.raises(ConfigError, match="no such class"):
        work_that_raises(platform, P.DETECTION, ConfigError("no such class: 'unicorn'"), begins=begins)
    assert standing(platform) == (P.FAILED, "detection: no such class: 'unicorn'")
    with pytest.raises(ZeroDivisionError):
        work_that_raises(platform, P.FILTERING, ZeroDivisionError("planted\nover two lines"), begins=begins)
    stage, error = standing(platform)
    assert stage is P.FAILED
    assert error is not None
    assert error.startswith("filtering: ZeroDivisionError: planted over two lines (")
    assert live_claims(platform.database) == []


CUTS = (KeyboardInterrupt(), SystemExit(), DagsterExecutionInterruptedError(), NotReadyError())


@pytest.mark.parametrize("cut", CUTS)
def test_project_stage__cut_off_it_waits_for_this_stage_again(platform: Platform, cut: BaseException) -> None:
    put(platform, P.COMPLETE)
    with pytest.raises(type(cut)):
        work_that_raises(platform, P.DETECTION, cut, begins=True)
    assert standing(platform) == (P.DETECTION_READY, None)
    assert live_claims(platform.database) == []


@pytest.mark.parametrize("cut", CUTS)
def test_project_stage__cut_off_before_it_began_nothing_changes(platform: Platform, cut: BaseException) -> None:
    put(platform, P.FAILED, "filtering: no such prompt")
    with pytest.raises(type(cut)):
        work_that_raises(platform, P.DETECTION, cut, begins=False)
    assert standing(platform) == (P.FAILED, "filtering: no such prompt")


def test_project_stage__what_cannot_be_recorded_does_not_hide_what_was_wrong(platform: Platform) -> None:
    with platform.database.transaction() as session:
        session.execute(text("ALTER TABLE projects RENAME TO gone"))
    with pytest.raises(DataMinerError, match="the first"):
        work_that_raises(platform, P.DETECTION, DataMinerError("the first"), begins=False)


def test_project_stage__taken_back_in_the_midst_stays_there(platform: Platform) -> None:
    with project_stage(platform, NAME, P.RELEASING) as run:
        run.begin()
        put(platform, P.SOURCING)
    assert standing(platform) == (P.SOURCING, None)


def test_require_table__missing(platform: Platform) -> None:
    with pytest.raises(NotReadyError, match="project 'bikes' has no detections yet"):
        require_table(platform, NAME, P.DETECTION)


Work = Callable[[Platform, str], ProjectOutcome]


@pytest.mark.parametrize(
    ("work", "through", "missing"),
    [
        (deduplicate_project, "extraction", "filtered_frames"),
        (detect_project, "filtering", "deduplicated_frames"),
        (release_project, "deduplication", "detections"),
    ],
)
def test_stages__not_before_the_stage_before_has_been_done(
    tmp_path: Path, work: Work, through: str, missing: str
) -> None:
    platform = build_project(tmp_path, through=through)
    before = standing(platform, "cyclists")
    with pytest.raises(NotReadyError, match=f"project 'cyclists' has no {missing} yet"):
        work(platform, "cyclists")
    assert standing(platform, "cyclists") == before


@pytest.mark.parametrize("status", [OutcomeStatus.BLOCKED, OutcomeStatus.FAILED, OutcomeStatus.UNAVAILABLE])
def test_project_outcome__what_is_not_there_is_none(status: OutcomeStatus) -> None:
    with pytest.raises(ValueError, match=f"`{status.value}` is not a valid outcome of project"):
        ProjectOutcome(NAME, status, "", {})
