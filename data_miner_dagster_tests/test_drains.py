"""Test runs that process batches of videos, executed by Dagster, with a real catalog and over a real network."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import select

from data_miner_dagster.catalog.batches import Batch, end_batch, open_batches, take_batch, take_project_batch
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.holds import find_holds
from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.pending import record_bases
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.catalog.work_tables import WorkBatchRow
from data_miner_dagster.config.environment import ROOT_VARIABLE
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import CatalogError, ModelError
from data_miner_dagster.domain.records import OutcomeStatus, VideoCandidate, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.jobs import config_of
from data_miner_dagster.operations.draining import Drain, drain
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform, ReportVideo
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.sensors.lost_work import end_lost_work
from data_miner_dagster.sensors.requests import request_of
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml
from data_miner_dagster_tests.support.catalog import add_video


class _Trickle(BaseHTTPRequestHandler):
    """Serves a video that never ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"\0")
                time.sleep(0.2)
        except OSError:
            pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Trickle)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    config = {"platform": {"models": {"profile": "lite"}, "downloading": {"allowed_private_hosts": ["127.0.0.1"]}}}
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_CONFIG", str(write_yaml(tmp_path / "platform.yaml", config)))
    platform = open_platform()
    content = project("street", [{"type": "urls", "urls": ["http://127.0.0.1:9/a.mp4"]}])
    del content["platform"]
    register_project_file(platform, write_yaml(tmp_path / "street.yaml", content))
    return platform


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def add_members(database: Database, keys: Sequence[str], address: str = "http://127.0.0.1:9") -> None:
    with database.transaction() as session:
        for rank, key in enumerate(keys):
            candidate = VideoCandidate(key, f"{address}/{key}.mp4", "urls", "test", rank, utc_now())
            add_candidates(session, "street", [(candidate, None)])


def run_batch(instance: dg.DagsterInstance, batch: Batch) -> dg.ExecuteInProcessResult:
    request = request_of(batch, ["street"])
    assert request.job_name is not None
    return defs.resolve_job_def(request.job_name).execute_in_process(
        instance=instance, run_config=request.run_config, tags=dict(request.tags), raise_on_error=False
    )


def taken(platform: Platform) -> Batch:
    batch = take_batch(platform.database, WorkStage.DOWNLOADING, must_be_full_until_seconds=0)
    assert batch is not None
    return batch


def test_download_videos__a_cancelled_run_ends_within_ten_seconds_and_what_it_left_is_held(
    instance: dg.DagsterInstance, platform: Platform, address: str
) -> None:
    keys = [f"generic-{index}" for index in range(6)]
    add_members(platform.database, keys, address)
    batch = taken(platform)

    def cancel() -> None:
        while not any(video.status is VideoStatus.DOWNLOADING for video in find_videos(platform.database)):
            time.sleep(0.1)
        (run,) = instance.get_runs()
        instance.report_run_canceling(run)  # as Dagster does when a run is terminated
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=cancel, daemon=True).start()
    assert not run_batch(instance, batch).success
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    end_lost_work(lambda: instance, platform)
    assert open_batches(platform.database) == []
    assert sorted(str(hold.video_key) for hold in find_holds(platform.database)) == keys
    assert all(video.attempts <= 1 and video.error is None for video in find_videos(platform.database))


def _planted(monkeypatch: pytest.MonkeyPatch, platform: Platform, batches: list[list[str]]) -> None:
    """Make downloads only mark each video as failed, and append the keys of each batch to `batches`."""

    def work(
        _platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
    ) -> list[VideoOutcome]:
        assert not force
        assert report is not None
        batches.append(sorted(video_keys))
        if "generic-model" in video_keys:
            raise ModelError("the model is not there")
        outcomes = []
        for key in video_keys:
            with platform.database.transaction() as session:
                move_video(session, key, VideoStatus.FAILED, error="gone")
            outcomes.append(VideoOutcome(key, OutcomeStatus.FAILED, message="gone"))
            report(outcomes[-1])
        return outcomes

    monkeypatch.setattr("data_miner_dagster.operations.draining.work_of", lambda _stage: work)


def test_download_videos__a_run_takes_the_next_batches_itself_and_tells_of_each_video(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"generic-{index:02d}" for index in range(60)]
    add_members(platform.database, keys)
    batches: list[list[str]] = []
    _planted(monkeypatch, platform, batches)
    assert run_batch(instance, taken(platform)).success
    assert [len(batch) for batch in batches] == [25, 25, 10]
    assert sorted(key for batch in batches for key in batch) == keys
    assert open_batches(platform.database) == []
    observed = instance.fetch_observations(dg.AssetKey("videos"), limit=100).records
    assert sorted(str(record.partition_key) for record in observed) == keys
    assert sorted(instance.get_dynamic_partitions("videos")) == keys


def test_embed_frames__a_run_takes_nothing_more_when_another_stage_waits_for_its_pool(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(30):
        add_video(platform.database, f"generic-{index:02d}", "street", status=VideoStatus.EXTRACTED)
    batches: list[list[str]] = []

    def embed(
        _platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
    ) -> list[VideoOutcome]:
        assert not force
        assert report is not None
        batches.append(list(video_keys))
        with platform.database.transaction() as session:
            record_bases(session, WorkStage.EMBEDDING, dict.fromkeys(video_keys, "basis"))
        return [VideoOutcome(key, OutcomeStatus.DONE) for key in video_keys]

    monkeypatch.setattr("data_miner_dagster.operations.draining.work_of", lambda _stage: embed)
    first = take_batch(platform.database, WorkStage.EMBEDDING)
    assert first is not None
    waiting = take_project_batch(platform.database, WorkStage.FILTERING, "street")
    assert waiting is not None
    assert run_batch(instance, first).success
    assert [len(batch) for batch in batches] == [25]
    end_batch(platform.database, waiting.id, "its run has ended")
    last = take_batch(platform.database, WorkStage.EMBEDDING, max_items=1)
    assert last is not None
    assert run_batch(instance, last).success
    assert [len(batch) for batch in batches] == [25, 1, 4]


def test_download_videos__a_fault_of_the_stage_ends_the_run_and_charges_no_video(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_members(platform.database, ["generic-a", "generic-model"])
    batches: list[list[str]] = []
    _planted(monkeypatch, platform, batches)
    result = run_batch(instance, taken(platform))
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert batches == [["generic-a", "generic-model"]]
    assert open_batches(platform.database) == []
    assert {video.status for video in find_videos(platform.database)} == {VideoStatus.PENDING}
    assert take_batch(platform.database, WorkStage.DOWNLOADING, must_be_full_until_seconds=0) is None  # it is closed


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (KeyboardInterrupt(), "stopped because the run was interrupted"),
        (CatalogError("it is gone"), "stopped because the run failed"),
    ],
)
def test_drain__names_why_a_batch_was_stopped(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, end: BaseException, reason: str
) -> None:
    add_members(platform.database, ["generic-a"])
    has_begun = threading.Event()

    def work(
        _platform: Platform, video_keys: Sequence[str], *, force: bool = False, report: ReportVideo | None = None
    ) -> list[VideoOutcome]:
        assert not force
        assert report is not None
        has_begun.set()
        while True:  # until the report stops the batch
            report(VideoOutcome(video_keys[0], OutcomeStatus.FAILED, message="gone"))
            time.sleep(0.02)

    def may_take() -> bool:
        if has_begun.is_set():
            raise end
        return True

    monkeypatch.setattr("data_miner_dagster.operations.draining.work_of", lambda _stage: work)
    drained = Drain(
        platform, (WorkStage.DOWNLOADING, WorkStage.EXTRACTION), "a-run", lambda _stage, _outcome: None, full_seconds=0
    )
    with pytest.raises(type(end)):
        drain(drained, may_take=may_take, may_wait=lambda _seconds: True)
    with platform.database.reading() as session:
        assert [row.reason for row in session.scalars(select(WorkBatchRow))] == [reason]


def test_config_of__a_person_names_the_videos(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_members(platform.database, ["generic-a", "generic-b"])
    batches: list[list[str]] = []
    _planted(monkeypatch, platform, batches)
    job = defs.resolve_job_def("download_videos")
    config = {"ops": config_of("download_videos", keys=["generic-b"])}
    assert job.execute_in_process(instance=instance, run_config=config).success
    assert batches == [["generic-b"]]
