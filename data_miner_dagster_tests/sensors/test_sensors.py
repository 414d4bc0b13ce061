"""The sensors' shells, evaluated on a real instance and a real catalog."""

import importlib
import itertools
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from data_miner_dagster import __version__
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG
from data_miner_dagster.sensors.in_flight import WORK_TAG
from data_miner_dagster.sensors.planning import MAX_FAILED_RUNS, MAX_KEYS_PER_RUN
from data_miner_dagster.sensors.project_files import register_project_files
from data_miner_dagster.sensors.states import video_states
from data_miner_dagster.sensors.videos import MAX_RUNS_PER_TICK
from data_miner_dagster_tests.sensors.ticks import add_members, drop_project, requests_of, tick


def test_wanted_videos__one_batch_of_partitions_and_ranges_with_a_cap(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    keys = [f"generic-{index:04d}" for index in range(MAX_KEYS_PER_RUN * (MAX_RUNS_PER_TICK + 1) + 3)]
    add_members(platform, keys)
    requests = requests_of(tick(instance, "wanted_videos"))
    assert instance.get_dynamic_partitions("videos") == keys
    assert len(requests) == MAX_RUNS_PER_TICK
    assert {request.job_name for request in requests} == {"download_videos"}
    assert requests[0].tags[RANGE_START_TAG] == keys[0]
    assert requests[0].tags[RANGE_END_TAG] == keys[MAX_KEYS_PER_RUN - 1]
    assert [r.run_key for r in requests_of(tick(instance, "wanted_videos"))] == [r.run_key for r in requests]


def test_wanted_videos__what_is_in_flight_is_not_asked_for(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a", "generic-b", "generic-c"])
    (request,) = requests_of(tick(instance, "wanted_videos"))
    job = defs.resolve_job_def("download_videos")
    instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    result = tick(instance, "wanted_videos")
    assert requests_of(result) == []
    assert "1 runs in flight" in str(result.skip_reason and result.skip_reason.skip_message)


def test_wanted_videos__work_whose_runs_keep_dying_waits_with_a_reason_and_a_date(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a", "generic-b"])
    (request,) = requests_of(tick(instance, "wanted_videos"))
    job = defs.resolve_job_def("download_videos")
    for _ in range(MAX_FAILED_RUNS):
        instance.create_run_for_job(job, tags={WORK_TAG: request.tags[WORK_TAG]}, status=dg.DagsterRunStatus.FAILURE)
    assert requests_of(tick(instance, "wanted_videos")) == []
    row = find_video(platform.database, "generic-a")
    assert row is not None
    assert (row.status, row.error) == (VideoStatus.FAILED, "3 runs of download_videos died on its batch")
    assert row.retry_after is not None
    assert 20 < (row.retry_after - utc_now()).total_seconds() <= 31

    def in_a_minute() -> datetime:
        return utc_now() + timedelta(seconds=60)

    monkeypatch.setattr("data_miner_dagster.sensors.videos.utc_now", in_a_minute)
    (again,) = requests_of(tick(instance, "wanted_videos"))
    assert again.tags[WORK_TAG] == request.tags[WORK_TAG]
    assert again.run_key != request.run_key
    for _ in range(2):  # the fifth run ended just now, the next is due four times later
        instance.create_run_for_job(job, tags={WORK_TAG: request.tags[WORK_TAG]}, status=dg.DagsterRunStatus.FAILURE)
    assert requests_of(tick(instance, "wanted_videos")) == []
    row = find_video(platform.database, "generic-a")
    assert row is not None
    assert row.retry_after is not None
    assert 110 < (row.retry_after - utc_now()).total_seconds() <= 121


def test_wanted_videos__a_fault_of_ours_gives_no_video_up_and_waits_for_another_version(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a", "generic-b"])
    (request,) = requests_of(tick(instance, "wanted_videos"))
    tags = {WORK_TAG: request.tags[WORK_TAG], SYSTEMATIC_FAULT_TAG: __version__}
    job = defs.resolve_job_def("download_videos")
    for _ in range(MAX_FAILED_RUNS):
        instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert requests_of(tick(instance, "wanted_videos")) == []
    row = find_video(platform.database, "generic-a")
    assert row is not None
    assert row.status is VideoStatus.PENDING

    monkeypatch.setattr("data_miner_dagster.sensors.in_flight.__version__", "99.0")
    (again,) = requests_of(tick(instance, "wanted_videos"))
    assert again.tags[WORK_TAG] == request.tags[WORK_TAG]


def test_settled_projects__a_project_that_cannot_be_planned_holds_up_no_other(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    drop_project(platform, "broken")
    tick(instance, "project_files")
    update_project(platform.database, "broken", config={"name": 5})  # as an older version may have kept it
    add_members(platform, ["generic-a"])
    with platform.database.transaction() as session:
        move_video(session, "generic-a", VideoStatus.FAILED)
    for name in ("street", "broken"):
        row = find_project(platform.database, name)
        assert row is not None
        update_project(platform.database, name, sourced_config_hash=row.config_hash)
    (request,) = requests_of(tick(instance, "settled_projects"))
    assert request.partition_key == "street"


def test_wanted_videos__the_work_of_the_dead_is_free_again(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a"])
    with platform.database.transaction() as session:
        assert move_video(session, "generic-a", VideoStatus.DOWNLOADING)
    (request,) = requests_of(tick(instance, "wanted_videos"))
    assert request.job_name == "download_videos"


def test_wanted_videos__frames_taken_away_are_made_again(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a"])
    with platform.database.transaction() as session:
        for status in (VideoStatus.DOWNLOADING, VideoStatus.DOWNLOADED, VideoStatus.EXTRACTING, VideoStatus.EXTRACTED):
            assert move_video(session, "generic-a", status)
    assert [request.job_name for request in requests_of(tick(instance, "wanted_videos"))] == ["extract_frames"]
    platform.layout.frames_table("generic-a").parent.mkdir(parents=True)
    platform.layout.frames_table("generic-a").touch()
    assert [request.job_name for request in requests_of(tick(instance, "wanted_videos"))] == ["embed_frames"]


def test_settled_projects__built_once_when_all_has_settled(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    tick(instance, "project_files")
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", sourced_config_hash=row.config_hash)
    add_members(platform, ["generic-a"])
    waiting = tick(instance, "settled_projects")
    assert requests_of(waiting) == []
    assert "1 of 1 videos are on their way" in str(waiting.skip_reason and waiting.skip_reason.skip_message)
    with platform.database.transaction() as session:
        assert move_video(session, "generic-a", VideoStatus.FAILED, error="gone")
    asked = []
    while requests := requests_of(tick(instance, "settled_projects")):
        ((job, tags),) = [(request.job_name, request.tags) for request in requests]
        asked.append(job)
        assert job is not None
        instance.create_run_for_job(
            defs.resolve_job_def(job), tags={WORK_TAG: tags[WORK_TAG]}, status=dg.DagsterRunStatus.SUCCESS
        )
    assert asked == ["filter_frames", "deduplicate_frames", "detect_objects", "release_dataset"]


def test_wanted_videos__a_flood_waits_in_the_catalog(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.sensors.videos.MAX_RUNS_AT_ONCE", 3)
    drop_project(platform)
    tick(instance, "project_files")
    add_members(platform, ["generic-a"])
    for job, num_runs, num_requests in (("download_videos", 2, 1), ("embed_frames", 3, 1), ("download_videos", 1, 0)):
        for _ in range(num_runs):
            instance.create_run_for_job(defs.resolve_job_def(job), status=dg.DagsterRunStatus.NOT_STARTED)
        assert len(requests_of(tick(instance, "wanted_videos"))) == num_requests


@pytest.mark.parametrize(("sensor", "job"), [("project_files", "list_sources"), ("settled_projects", "filter_frames")])
def test_ticks__a_project_whose_runs_keep_failing_waits_and_is_never_given_up(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch, sensor: str, job: str
) -> None:
    drop_project(platform)
    register_project_files(platform)
    if sensor == "settled_projects":
        add_members(platform, ["generic-a"])
        with platform.database.transaction() as session:
            move_video(session, "generic-a", VideoStatus.FAILED)
        row = find_project(platform.database, "street")
        assert row is not None
        update_project(platform.database, "street", sourced_config_hash=row.config_hash)
    (request,) = requests_of(tick(instance, sensor))
    tags = {WORK_TAG: request.tags[WORK_TAG]}
    for _ in range(MAX_FAILED_RUNS):
        instance.create_run_for_job(defs.resolve_job_def(job), tags=tags, status=dg.DagsterRunStatus.FAILURE)
    skipped = tick(instance, sensor)
    assert requests_of(skipped) == []
    assert "3 runs left it undone: tried again from 2" in str(skipped.skip_reason)

    def in_a_minute() -> datetime:
        return utc_now() + timedelta(seconds=60)

    monkeypatch.setattr("data_miner_dagster.sensors.in_flight.utc_now", in_a_minute)
    (again,) = requests_of(tick(instance, sensor))
    assert again.run_key != request.run_key


def test_ticks__one_of_several_that_a_fault_meets_holds_up_no_other(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good", "street"):
        drop_project(platform, name)
    with monkeypatch.context() as patched:
        _plant_at(patched, "sensors.project_files:count_runs", lambda call: call == 1)
        assert [r.partition_key for r in requests_of(tick(instance, "project_files"))] == ["good", "street"]
    assert len(requests_of(tick(instance, "project_files"))) == 3  # the next tick asks again

    keys = [f"generic-{index:03d}" for index in range(3 * MAX_KEYS_PER_RUN)]
    add_members(platform, keys)
    with monkeypatch.context() as patched:  # a range
        _plant_at(patched, "sensors.videos:failures_of", lambda call: call == 2)
        asked = [r.tags[RANGE_START_TAG] for r in requests_of(tick(instance, "wanted_videos"))]
    assert asked == [keys[0], keys[2 * MAX_KEYS_PER_RUN]]
    with monkeypatch.context() as patched:  # all ranges
        _plant_at(patched, "sensors.videos:failures_of", lambda _call: True)
        skipped = tick(instance, "wanted_videos").skip_reason
    assert skipped is not None
    line = r"3 ranges could not be asked for: ZeroDivisionError: planted \(sensors/videos.py:\d+\)$"
    assert re.search(line, str(skipped.skip_message))

    with platform.database.transaction() as session:
        for key in keys:
            move_video(session, key, VideoStatus.FAILED)
    for name in ("bad", "good", "street"):
        row = find_project(platform.database, name)
        assert row is not None
        update_project(platform.database, name, sourced_config_hash=row.config_hash)
        add_members(platform, keys[:1], name)
    with monkeypatch.context() as patched:  # a project
        _plant_at(patched, "sensors.datasets:plan_dataset", lambda call: call == 1)
        assert [r.partition_key for r in requests_of(tick(instance, "settled_projects"))] == ["good", "street"]


def test_video_states__one_that_a_fault_meets_is_not_known_to_be_embedded(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform)
    register_project_files(platform)
    add_members(platform, ["generic-a", "generic-b"])
    with platform.database.transaction() as session:
        for key in ("generic-a", "generic-b"):
            for status in (
                VideoStatus.DOWNLOADING,
                VideoStatus.DOWNLOADED,
                VideoStatus.EXTRACTING,
                VideoStatus.EXTRACTED,
            ):
                move_video(session, key, status)
    with monkeypatch.context() as patched:
        _plant_at(patched, "storage.layout:StorageLayout.frames_table", lambda call: call == 1)
        states = video_states(platform)
    assert [(state.key, state.status, state.is_embedded) for state in states] == [
        ("generic-a", VideoStatus.EXTRACTED, False),
        ("generic-b", VideoStatus.DOWNLOADED, False),  # its frames are gone
    ]


def _plant_at(monkeypatch: pytest.MonkeyPatch, place: str, is_hit: Callable[[int], bool]) -> None:
    """Have a function raise at some of its calls, counted from 1."""
    module, _, name = place.partition(":")
    owner = importlib.import_module(f"data_miner_dagster.{module}")
    *outer, attribute = name.split(".")
    for step in outer:
        owner = getattr(owner, step)
    work = getattr(owner, attribute)
    calls = itertools.count(1)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if is_hit(next(calls)):
            raise ZeroDivisionError("planted")
        return work(*arguments, **named)

    monkeypatch.setattr(owner, attribute, wrapped)
