"""Compare the values that monitoring reports with planted catalog rows that were counted by hand."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from benchmarks.planted_catalog import plant_root
from data_miner_dagster.catalog.attempts import charge_failure
from data_miner_dagster.catalog.batches import take_batch
from data_miner_dagster.catalog.gates import close_gate
from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.leases import hold_lease
from data_miner_dagster.catalog.politeness import admit_download
from data_miner_dagster.catalog.politeness import close_gate as close_site
from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.catalog.schema import ProjectRow, VideoRow, utc_now
from data_miner_dagster.catalog.work_tables import MeasurementRow
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.measurements import AMOUNTS
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.monitoring.collecting import Collector, Values
from data_miner_dagster.operations.platform import Platform


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Return a platform with 100 videos in two projects.

    Of these, 25 are new, 5 unavailable, 10 failed, 10 downloaded, 10 extracted and 40 embedded.
    """
    platform = Platform(PlatformConfig.model_validate({"room": {"quota": "7GB"}}), tmp_path / "root")
    plant_root(platform, 100, num_projects=2, num_batches=0)
    return platform


def values_of(collector: Collector, name: str) -> dict[tuple[str, ...], float]:
    return collector.values().by_name.get(name, {})


def test_collector__an_empty_root_has_zeros_and_no_projects(tmp_path: Path) -> None:
    collector = Collector(Platform(PlatformConfig(), tmp_path / "root"))
    assert set(values_of(collector, "pending_items").values()) == {0.0}
    assert values_of(collector, "pending_items").keys() == {(stage.value.lower(),) for stage in WorkStage}
    assert values_of(collector, "oldest_pending_seconds")["downloading",] == 0.0
    assert values_of(collector, "project_items") == {}
    assert values_of(collector, "videos") == {}
    assert values_of(collector, "quota_bytes") == {}
    assert set(values_of(collector, "collection_failed").values()) == {0.0}


def test_collector__counts_of_videos_and_work(platform: Platform) -> None:
    take_batch(platform.database, WorkStage.EXTRACTION, max_items=4)
    collector = Collector(platform)
    pending, waiting = values_of(collector, "pending_items"), values_of(collector, "waiting_items")
    assert (pending["downloading",], pending["extraction",], pending["embedding",]) == (25, 6, 10)
    assert (waiting["downloading",], waiting["extraction",]) == (15, 0)
    assert values_of(collector, "items_in_flight")["extraction",] == 4
    assert 0 < values_of(collector, "oldest_pending_seconds")["embedding",] < 60
    assert values_of(collector, "videos") == {
        ("pending", ""): 25,
        ("unavailable", "private"): 5,
        ("failed", "transient"): 10,
        ("downloaded", ""): 10,
        ("extracted", ""): 50,
    }
    assert values_of(collector, "failed_items") == {("downloading", "private"): 5, ("downloading", "transient"): 10}
    of_first = {
        labels[1:]: value for labels, value in values_of(collector, "project_items").items() if labels[0] == "p000"
    }
    assert of_first == {
        ("downloading", "pending"): 25,
        ("downloading", "failed"): 15,
        ("downloading", "done"): 60,
        ("extraction", "pending"): 10,
        ("extraction", "failed"): 0,
        ("extraction", "done"): 50,
        ("embedding", "pending"): 10,
        ("embedding", "failed"): 0,
        ("embedding", "done"): 40,
    }
    assert values_of(collector, "quota_bytes") == {(): 7e9}


def test_collector__projects_between_two_stages_and_their_frames(platform: Platform) -> None:
    waits, funnel = ProjectStage.DETECTION_READY, {"frames": 90, "filtered": 40, "unique": 30, "released_images": 12}
    an_hour_ago = utc_now() - timedelta(hours=1)
    with platform.database.transaction() as session:
        of_first = update(ProjectRow).where(ProjectRow.name == "p000")
        session.execute(of_first.values(stage=waits, updated_at=an_hour_ago))
        session.execute(of_first.values(counts=funnel, updated_at=an_hour_ago))
    with platform.database.transaction() as session:
        failure = Failure(FailureKind.OUT_OF_DATE, "a table is out of date")
        charge_failure(session, WorkStage.FILTERING, "p001", failure, waits=True)
    collector = Collector(platform)
    assert values_of(collector, "pending_items")["detection",] == 1
    assert 3600 <= values_of(collector, "oldest_pending_seconds")["detection",] < 3660
    assert values_of(collector, "project_stage")["p000", "detection_ready"] == 1
    assert values_of(collector, "project_frames") == {
        ("p000", "seen"): 90,
        ("p000", "kept"): 40,
        ("p000", "representatives"): 30,
        ("p000", "released"): 12,
    }
    assert values_of(collector, "failed_items")["filtering", "out_of_date"] == 1


def test_collector__what_holds_work_back(platform: Platform) -> None:
    with platform.database.transaction() as session:
        close_gate(session, WorkStage.EMBEDDING, FailureKind.MODEL, "no weights")
    hold_items(platform.database, stage=WorkStage.EXTRACTION, reason="for a while")
    hold_items(platform.database, project="p000", stage=WorkStage.DETECTION, reason="of one project")
    close_site(platform.database, "example.org", utc_now() + timedelta(minutes=5), "HTTP 429")
    close_site(platform.database, "example.net", utc_now() - timedelta(minutes=5), "over")
    for _ in range(3):
        admit_download(platform.database, "youtube", hourly_budget=None, daily_budget=None, spacing_seconds=0)
    collector = Collector(platform)
    closed = values_of(collector, "stage_closed")
    assert [stage for (stage,), value in closed.items() if value] == ["embedding"]
    assert 0 <= values_of(collector, "stage_closed_seconds")["embedding",] < 60
    assert [stage for (stage,), value in values_of(collector, "stage_paused").items() if value] == ["extraction"]
    assert values_of(collector, "host_blocked") == {("example.org",): 1}
    assert values_of(collector, "site_budget_used_ratio") == {("youtube",): pytest.approx(3 / 300)}


def test_collector__what_work_has_cost(platform: Platform) -> None:
    with platform.database.transaction() as session:
        for run_id, subject, num_failed in (("r1", "generic-1000000", 1), ("r2", "generic-1000000", 0)):
            amounts = dict.fromkeys(AMOUNTS, 0) | {"num_items": 1, "num_failed": num_failed, "num_requests": 3}
            row = {"stage": WorkStage.DOWNLOADING, "subject": subject, "run_id": run_id, "measured_at": utc_now()}
            session.add(MeasurementRow(**row, **amounts | {"bytes_received": 500, "cpu_seconds": 0.25}))
    collector = Collector(platform)
    assert values_of(collector, "items") == {("downloading", "done"): 1, ("downloading", "failed"): 1}
    assert values_of(collector, "requests") == {("downloading",): 6}
    assert values_of(collector, "bytes_received") == {("downloading",): 1000}
    assert values_of(collector, "cpu_seconds") == {("downloading",): 0.5}
    assert values_of(collector, "gpu_seconds") == {("downloading",): 0}


def test_collector__runs_by_stage_or_job(platform: Platform) -> None:
    with (
        hold_lease(platform.database, "r1", "extract_frames"),
        hold_lease(platform.database, "r2", "extract_frames"),
        hold_lease(platform.database, "r3", "process_videos"),
    ):
        runs = {labels: value for labels, value in values_of(Collector(platform), "runs").items() if value}
    assert runs == {("extraction",): 2, ("process_videos",): 1}


def test_collector__a_part_that_fails_leaves_the_others(
    platform: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Values) -> None:
        raise OSError("the storage is away")

    monkeypatch.setattr("data_miner_dagster.monitoring.collecting.SHORTEST_LIFE", 0.0)
    monkeypatch.setattr("data_miner_dagster.monitoring.collecting._LIFE_TO_COST", 0.0)
    collector = Collector(platform, {"dagster": fail})
    for _ in range(2):
        failed = {part for (part,), value in values_of(collector, "collection_failed").items() if value}
        assert failed == {"dagster"}
        assert values_of(collector, "pending_items")["downloading",] == 25
    assert [line for line in caplog.messages if "the storage is away" in line] == caplog.messages[:1]


def test_collector__a_collection_serves_for_a_while(platform: Platform) -> None:
    collector = Collector(platform)
    first = collector.values()
    update_project(platform.database, "p000", released_version="v001")
    assert collector.values() is first


def test_collector__how_far_projects_are(platform: Platform) -> None:
    """One video took a second at each stage half an hour ago, so part of the work is done and the rest is estimated."""
    collector = Collector(platform)
    assert values_of(collector, "project_eta_seconds") == {}  # nothing has been measured yet
    ratios = values_of(collector, "project_progress_ratio")
    assert set(ratios.values()) == {0.0}
    with platform.database.transaction() as session:
        key = session.scalars(select(VideoRow.key).where(VideoRow.status == VideoStatus.EXTRACTED).limit(1)).one()
        amounts = dict.fromkeys(AMOUNTS, 0) | {"num_items": 1, "wall_seconds": 1.0}
        at = {"run_id": "", "measured_at": utc_now() - timedelta(minutes=30)}
        for stage in (WorkStage.DOWNLOADING, WorkStage.EXTRACTION, WorkStage.EMBEDDING):
            session.execute(insert(MeasurementRow), [{"subject": key, "stage": stage, **at, **amounts}])
    left = values_of(Collector(platform), "project_eta_seconds")
    assert left.keys() == ratios.keys()
    assert all(seconds > 0 for seconds in left.values())
