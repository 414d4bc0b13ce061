"""Progress as computed from the catalog: what is due, what was done since the last pause, and by which run."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from data_miner_dagster.catalog import renewal
from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.leases import hold_lease
from data_miner_dagster.catalog.schema import ClaimRow, utc_now
from data_miner_dagster.catalog.work_tables import MeasurementRow
from data_miner_dagster.domain.measurements import AMOUNTS, Measured
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations import progress
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps, progress_of, standing_of, telling_progress, time_text
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.local_projects import make_platform
from data_miner_dagster_tests.support.waiting import wait_until


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")
    return platform


@dataclass
class Clock:
    """Clocks of the process and of its loading of models, set by the test."""

    now: float = 1000.0
    loading: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "_seconds_of_work", lambda: clock.now - clock.loading)
    return clock


def measure(platform: Platform, subject: str, stage: WorkStage, ended_at: datetime, **amounts: Any) -> None:
    """Record what a stage spent, as if it had ended at `ended_at`."""
    spent = Measured(num_items=1, **amounts)
    values = {name: getattr(spent, name) for name in AMOUNTS}
    with platform.database.transaction() as session:
        key = {"subject": subject, "stage": stage, "run_id": "", "measured_at": ended_at}
        session.execute(insert(MeasurementRow), [{**values, **key}])


def add_downloaded(platform: Platform, *keys: str, seconds: float = 60.0) -> None:
    for key in keys:
        status = VideoStatus.DOWNLOADED
        add_video(platform.database, key, "bikes", status=status, duration_seconds=seconds, sha256=key)


def add_done(platform: Platform, key: str, ended_at: datetime, *, wall_seconds: float, seconds: float = 60.0) -> None:
    """Add a video whose extraction and embedding each took `wall_seconds` and ended at `ended_at`."""
    add_video(platform.database, key, status=VideoStatus.EXTRACTED, duration_seconds=seconds, sha256=key)
    for stage in (WorkStage.EXTRACTION, WorkStage.EMBEDDING):
        measure(platform, key, stage, ended_at, wall_seconds=wall_seconds)


def test_progress_of__nothing_due(platform: Platform) -> None:
    assert progress_of(platform) is None
    assert standing_of(platform).is_over
    assert standing_of(platform).lines == []


def test_progress_of__nothing_seen_yet(platform: Platform) -> None:
    add_downloaded(platform, "a", "b")
    found = progress_of(platform, "bikes")
    assert found is not None
    assert (found.share_done, found.remaining_seconds, found.num_open) == (0, None, 2)
    assert found.line == "bikes: 2 videos to go: 0 %"


def test_progress_of__as_other_runs_took(platform: Platform) -> None:
    """Two days ago a video took 10 s in each stage, so three of twice its length take 20 s each: 60 s for embedding."""
    add_done(platform, "old", utc_now() - timedelta(days=2), wall_seconds=10)
    add_downloaded(platform, "a", "b", "c", seconds=120)
    found = progress_of(platform, "bikes")
    assert found is not None
    assert found.share_done == 0
    assert found.remaining_seconds == pytest.approx(60)
    assert found.line == "bikes: 3 videos to go: 0 %, about 60 s left"


def test_progress_of__at_the_pace_since_the_last_pause(platform: Platform) -> None:
    """A minute of video took 10 s in each of two parallel stages: embedding has 32 minutes of video left, or 320 s."""
    add_done(platform, "old", utc_now() - timedelta(hours=1), wall_seconds=600)
    add_video(platform.database, "old", "bikes")
    add_done(platform, "new", utc_now(), wall_seconds=10)
    add_video(platform.database, "new", "bikes")
    add_downloaded(platform, "a", "b", "c", seconds=600)
    found = progress_of(platform, "bikes")
    assert found is not None
    assert found.num_open == 3 + 2  # the two extracted videos count, as their embeddings have no basis here
    assert found.share_done == pytest.approx(20 / (20 + 300 + 320))
    assert found.remaining_seconds == pytest.approx(315, rel=0.05)


def test_progress_of__with_what_a_build_took_before(platform: Platform) -> None:
    add_done(platform, "old", utc_now() - timedelta(days=2), wall_seconds=10)
    measure(platform, "trams", WorkStage.FILTERING, utc_now(), wall_seconds=10, num_frames=100)
    measure(platform, "trams", WorkStage.DETECTION, utc_now(), wall_seconds=190, num_frames=10)
    add_downloaded(platform, "a")
    add_video(platform.database, "b", "bikes", status=VideoStatus.UNAVAILABLE, duration_seconds=60, num_frames=30)
    found = progress_of(platform, "bikes")
    assert found is not None
    assert found.is_with_build
    assert found.remaining_seconds == pytest.approx(10 + (30 + 30) * 2, rel=0.01)  # 2 s a frame, 30 frames a minute
    assert found.line.endswith("until its release")


def test_progress_of__without_an_estimate_names_no_release(platform: Platform) -> None:
    measure(platform, "trams", WorkStage.FILTERING, utc_now(), wall_seconds=10, num_frames=100)
    add_downloaded(platform, "a")
    found = progress_of(platform, "bikes")
    assert found is not None
    assert (found.remaining_seconds, found.is_with_build) == (None, False)
    assert found.line == "bikes: 1 video to go: 0 %"


def test_standing_of__runs_tell_their_steps(platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(renewal, "_IDLE_SECONDS", 0.02)
    with (
        hold_lease(platform.database, "run-1", "detect", "bikes") as lease,
        hold_claim(platform.database, "project/b", wait_seconds=0),
    ):
        steps = Steps("detection: looks at", "frames", 200, platform.within(lease))
        steps.advance(10)
        wait_until(lambda: any(run.num_done for run in standing_of(platform, "bikes").runs))
        assert standing_of(platform, "bikes").lines == ["bikes: detect: step 10 of 200: 5 %"]
        clock.now += 20.0
        steps.advance(40)
        assert (lease.num_done, lease.num_total) == (50, 200)
        wait_until(lambda: any(run.remaining_seconds for run in standing_of(platform, "bikes").runs))
        standing = standing_of(platform, "bikes")
        assert standing.lines[0].startswith("bikes: detect: step 50 of 200: 25 %, about ")
        (run,) = standing.runs
        assert run.remaining_seconds == pytest.approx(75, abs=20)  # the remaining 150 frames at two per second
        assert not standing.is_over
        assert standing.as_json()[0]["num_total"] == 200


def test_standing_of__work_on_other_projects_is_not_counted(platform: Platform) -> None:
    add_project(platform.database, "trams")
    add_video(platform.database, "a", "bikes", status=VideoStatus.EXTRACTED)
    add_video(platform.database, "b", "trams", status=VideoStatus.EXTRACTED)
    with (
        hold_claim(platform.database, "video/b", wait_seconds=0),
        hold_claim(platform.database, "project/trams", wait_seconds=0),
    ):
        assert standing_of(platform, "bikes").num_at_work == 0
        with (
            hold_claim(platform.database, "video/a", wait_seconds=0),
            hold_claim(platform.database, "project/bikes", wait_seconds=0),
        ):
            assert standing_of(platform, "bikes").num_at_work == 2
            assert standing_of(platform).num_at_work == 4


def test_steps__a_line_when_it_is_due(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "_FIRST_LINE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, logger=progress.logger.name):
        steps = Steps("export: has copied", "files", 2_000)
        steps.advance(500)
        steps.advance(500)  # within a minute of the last line, so not logged
    assert [record.getMessage() for record in caplog.records] == ["export: has copied 500 of 2,000 files: 25 %"]
    assert steps.share == 0.5
    assert ", about " in steps.line
    assert Steps("x", "files", 0).share == 1


def test_steps__the_pace_is_measured_from_the_first_step_and_without_loading(clock: Clock) -> None:
    steps = Steps("detection: yolo has examined", "frames", 100)
    clock.now += 600  # time to load a model and start processes
    steps.advance(8)
    assert steps.line == "detection: yolo has examined 8 of 100 frames: 8 %"
    clock.now += 4
    steps.advance(2)
    assert steps.remaining_seconds == pytest.approx(180)
    clock.now += 300
    clock.loading += 300  # another model is loaded
    assert steps.remaining_seconds == pytest.approx(180)
    steps.reach(100)
    assert steps.remaining_seconds is None


def test_progress_of__the_first_embedded_video_waited_for_the_model(platform: Platform) -> None:
    """A run's first video is charged with ten minutes of loading, although the model needed ten seconds for it."""
    add_video(platform.database, "first", "bikes", status=VideoStatus.EXTRACTED, duration_seconds=60, sha256="first")
    measure(platform, "first", WorkStage.EMBEDDING, utc_now(), wall_seconds=600, floor_seconds=10, cpu_seconds=300)
    status = VideoStatus.EXTRACTED
    for key in ("a", "b", "c"):
        add_video(platform.database, key, "bikes", status=status, duration_seconds=60, sha256=key, frames_basis="f")
    found = progress_of(platform, "bikes")
    assert found is not None
    assert found.num_open == 4
    assert found.remaining_seconds == pytest.approx(40, rel=0.1)


def test_progress_of__a_video_that_waits_for_the_model_tells_nothing(platform: Platform) -> None:
    """The encoder has been loading for ten minutes while the first video is claimed."""
    add_video(platform.database, "a", "bikes", status=VideoStatus.EXTRACTED, duration_seconds=60, sha256="a")
    with hold_claim(platform.database, "video/a", wait_seconds=0):
        with platform.database.transaction() as session:
            session.execute(update(ClaimRow).values(claimed_at=utc_now() - timedelta(minutes=10)))
        found = progress_of(platform, "bikes")
    assert found is not None
    assert found.line == "bikes: 1 video to go: 0 %"


def test_telling_progress__lines_in_the_log(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    add_downloaded(platform, "a", "b")
    with caplog.at_level(logging.INFO, logger=progress.logger.name), telling_progress(platform, "bikes"):
        wait_until(lambda: bool(caplog.records))
    assert caplog.records[0].getMessage() == "bikes: 2 videos to go: 0 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "5 s"), (62, "60 s"), (100, "2 min"), (5400, "1.5 h"), (259_200, "3.0 days")]
)
def test_time_text__as_exactly_as_it_is_known(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
