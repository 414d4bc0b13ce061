"""Test what counts as trouble, with conditions planted in a catalog."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from benchmarks.planted_catalog import plant_root
from data_miner_dagster.catalog.attempts import charge_failure
from data_miner_dagster.catalog.gates import close_gate
from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.leases import hold_lease
from data_miner_dagster.catalog.politeness import close_gate as close_site
from data_miner_dagster.catalog.schema import ProjectRow, VideoRow, utc_now
from data_miner_dagster.catalog.work_tables import PendingWorkRow
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.alerts import AlertKind, Trouble
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.secret_values import remember_secret
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.operations.alerting.conditions import find_troubles, said
from data_miner_dagster.operations.platform import Platform

HOUR = timedelta(hours=1)


def make_platform(root: Path, **alerts: object) -> Platform:
    settings = {"min_free_bytes": 0, "stalled_minutes": 60, "stage_closed_minutes": 15, **alerts}
    return Platform(PlatformConfig.model_validate({"alerts": settings}), root)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = make_platform(tmp_path / "root")
    plant_root(platform, 20, num_projects=2, num_batches=0)
    return platform


def kinds(platform: Platform) -> dict[AlertKind, Trouble]:
    return {trouble.kind: trouble for trouble in find_troubles(platform)}


def test_find_troubles__none(platform: Platform) -> None:
    assert find_troubles(platform) == []


def test_find_troubles__a_project_that_goes_on_by_itself_is_none(platform: Platform) -> None:
    with platform.database.transaction() as session:
        session.execute(update(ProjectRow).values(stage=ProjectStage.FAILED, error="detection: out of memory"))
        charge_failure(session, WorkStage.DETECTION, "p000", Failure(FailureKind.MEMORY, "out of memory"))
        failure = Failure(FailureKind.OUT_OF_DATE, "out of date")
        charge_failure(session, WorkStage.DETECTION, "p001", failure, waits=True)
    (trouble,) = find_troubles(platform)
    assert (trouble.kind, trouble.subject, trouble.after) == (AlertKind.PROJECT_FAILED, "p001", timedelta())
    assert trouble.line.startswith("detection: out of memory; 'data-miner retry --project p001'")


def test_find_troubles__closed_stages_and_sites(platform: Platform) -> None:
    with platform.database.transaction() as session:
        gate = close_gate(session, WorkStage.EXTRACTION, FailureKind.DISK_FULL, "no space left")
        closed_at = gate.closed_at
    close_site(platform.database, "youtube", utc_now() + HOUR, "youtube answered HTTP 429")
    found = kinds(platform)
    assert found.keys() == {AlertKind.STAGE_CLOSED, AlertKind.SITE_CLOSED}
    stage, site = found[AlertKind.STAGE_CLOSED], found[AlertKind.SITE_CLOSED]
    assert (stage.subject, stage.since, stage.after) == ("extraction", closed_at, timedelta(minutes=15))
    assert (site.subject, site.since) == ("youtube", None)


def test_find_troubles__work_that_is_due_and_not_done(platform: Platform) -> None:
    long_ago = utc_now() - 3 * HOUR
    with platform.database.transaction() as session:
        due = PendingWorkRow.due_at <= utc_now()
        session.execute(update(PendingWorkRow).where(due).values(due_at=long_ago, since=long_ago))
    line = kinds(platform)[AlertKind.STALLED].line
    assert line.startswith(
        "work is due (5 items at downloading, 2 items at extraction, 2 items at embedding), but nothing has been "
    )
    hold_items(platform.database, stage=WorkStage.DOWNLOADING, reason="for a while")
    assert kinds(platform)[AlertKind.STALLED].line.startswith(
        "work is due (2 items at extraction, 2 items at embedding)"
    )
    with hold_lease(platform.database, "r1", "embed_frames"):
        assert kinds(platform) == {}  # a run is working on it
    hold_items(platform.database, reason="everything")
    assert kinds(platform) == {}


def test_find_troubles__room(platform: Platform, tmp_path: Path) -> None:
    with platform.database.transaction() as session:
        new = VideoRow.status == VideoStatus.PENDING
        session.execute(update(VideoRow).where(new).values(error_kind=VideoErrorKind.DISK_FULL))
    trouble = kinds(platform)[AlertKind.QUOTA_SHORT]
    assert trouble.line.startswith("5 videos do not fit under the quota")
    assert trouble.after == HOUR
    short = make_platform(tmp_path / "root", min_free_bytes="900TB")
    assert "platform.alerts.min" in kinds(short)[AlertKind.DISK_SHORT].line


def test_said__no_secret_no_markup_one_line() -> None:
    remember_secret("s3cret-word")
    line = said("<script>\n@everyone [x](http://a.example/?token=abcdef) s3cret-word\x1b[31m *b* `c` " + "d" * 999)
    assert line.startswith("‹script› ＠everyone (x)(http: //a.example/?token=")
    assert "s3cret-word" not in line
    assert "abcdef" not in line
    assert "\x1b" not in line
    assert len(line) <= 610
