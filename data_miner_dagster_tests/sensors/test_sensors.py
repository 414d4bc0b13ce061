"""The sensors' shells, evaluated on a real instance and a real catalog."""

import importlib
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from data_miner_dagster import __version__
from data_miner_dagster.catalog.members import add_candidates, find_members
from data_miner_dagster.catalog.projects import find_project, find_projects, update_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.loading import ParseFile, load_project_file
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import ProjectFile
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG
from data_miner_dagster.sensors.in_flight import WORK_TAG
from data_miner_dagster.sensors.planning import MAX_FAILED_RUNS, MAX_KEYS_PER_RUN
from data_miner_dagster.sensors.project_files import register_project_files
from data_miner_dagster.sensors.states import video_states
from data_miner_dagster.sensors.videos import MAX_RUNS_PER_TICK
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_PROFILE", "lite")
    for name in ("DATA_MINER_CONFIG", "DATA_MINER_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)
    return open_platform()


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def tick(instance: dg.DagsterInstance, sensor: str) -> dg.SensorResult:
    definition = defs.get_repository_def().get_sensor_def(sensor)
    context = dg.build_sensor_context(instance=instance, resources={"platform": PlatformResource()})
    result = definition(context)
    assert isinstance(result, dg.SensorResult)
    return result


def drop_project(platform: Platform, name: str = "street", **changes: object) -> Path:
    content = project(name, [{"type": "urls", "urls": ["http://127.0.0.1:9/a.mp4"]}], **changes)
    del content["platform"]
    return write_yaml(platform.layout.project_files / f"{name}.yaml", content)


def add_members(platform: Platform, keys: list[str], name: str = "street") -> None:
    with platform.database.transaction() as session:
        for rank, key in enumerate(keys):
            candidate = VideoCandidate(key, f"http://127.0.0.1:9/{key}.mp4", "urls", "test", rank, utc_now())
            add_candidates(session, name, [(candidate, None)])


def requests_of(result: dg.SensorResult) -> list[dg.RunRequest]:
    return list(result.run_requests or [])


def test_project_files__no_files(instance: dg.DagsterInstance, platform: Platform) -> None:
    result = tick(instance, "project_files")
    assert requests_of(result) == []
    assert result.skip_reason is not None


def test_project_files__a_dropped_file_is_registered_and_listed_once(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    (request,) = requests_of(tick(instance, "project_files"))
    assert request.partition_key == "street"
    assert instance.get_dynamic_partitions("projects") == ["street"]
    (again,) = requests_of(tick(instance, "project_files"))
    assert again.run_key == request.run_key, "the same wish has another key: Dagster would launch it twice"
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", sourced_config_hash=row.config_hash)
    assert requests_of(tick(instance, "project_files")) == []


def test_project_files__a_changed_file_is_listed_again(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    (first,) = requests_of(tick(instance, "project_files"))
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", sourced_config_hash=row.config_hash)
    drop_project(platform, description="another")
    (second,) = requests_of(tick(instance, "project_files"))
    assert second.run_key != first.run_key


def test_project_files__a_wrong_file_is_named_and_holds_up_no_other(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform, "good")
    (platform.layout.project_files / "bad.yaml").write_text("name: bad\nfiltring: {}\n")
    (request,) = requests_of(tick(instance, "project_files"))
    assert request.partition_key == "good"
    row = find_project(platform.database, "good")
    assert row is not None
    update_project(platform.database, "good", sourced_config_hash=row.config_hash)
    reason = tick(instance, "project_files").skip_reason
    assert reason is not None
    assert "bad.yaml" in str(reason.skip_message)


def test_project_files__a_file_that_stays_refused_is_logged_once(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    file = platform.layout.project_files / "bad.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    sensor = defs.get_repository_def().get_sensor_def("project_files")
    cursor = None
    num_logged = []
    for text in ("filtring: {}", "filtring: {}", "filtring: {}\nx: 1"):
        file.write_text(f"name: bad\n{text}\n")
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"platform": PlatformResource()})
        lines = _Lines()
        context.log.addHandler(lines)
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        assert "1 files refused" in str(result.skip_reason)
        cursor = result.cursor
        num_logged.append(sum("bad.yaml" in line for line in lines.logged))
    assert num_logged == [1, 0, 1]  # again when it is wrong in another way


def test_register_project_files__one_file_decides_for_no_other(platform: Platform) -> None:
    folder = platform.layout.project_files
    drop_project(platform, "good")
    assert register_project_files(platform) == []
    drop_project(platform, "good").rename(folder / "a_copy.yaml")  # before it in the alphabet
    drop_project(platform, "good", description="the first has the name")
    drop_project(platform, "upper").rename(folder / "E.YAML")
    (folder / "b.yaml").write_text("d: " + "[" * 100_000)
    (folder / "c.yaml").write_text("12")
    os.mkfifo(folder / "d.yaml")
    drop_project(platform, "latin").rename(folder / os.fsdecode(b"caf\xe9.yaml"))
    refused = register_project_files(platform)
    assert [line.partition(":")[0] for line in refused] == [
        "a_copy.yaml",
        "b.yaml",
        "c.yaml",
        "caf\\xe9.yaml",
        "d.yaml",
    ]
    assert f"is that of {folder / 'good.yaml'} already" in refused[0]
    assert not any("\n" in line for line in refused)
    assert [row.name for row in find_projects(platform.database)] == ["good", "upper"]
    assert platform.project_config("good").description == "the first has the name"


def test_register_project_files__a_fault_of_ours_is_that_file_s(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform, "bad")
    drop_project(platform, "good")

    def load(path: Path, limits: ProjectLimits, parse: ParseFile) -> ProjectFile:
        if path.name == "bad.yaml":
            raise ZeroDivisionError("planted")
        return load_project_file(path, limits, parse)

    monkeypatch.setattr("data_miner_dagster.operations.sourcing.registering.load_project_file", load)
    (refused,) = register_project_files(platform)
    assert re.fullmatch(r"bad.yaml: ZeroDivisionError: planted \(operations/sourcing/registering.py:\d+\)", refused)
    assert [row.name for row in find_projects(platform.database)] == ["good"]


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
    (request,) = requests_of(tick(instance, "settled_projects"))
    job = defs.resolve_job_def("build_dataset")
    tags = {WORK_TAG: request.tags[WORK_TAG]}
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
    assert requests_of(tick(instance, "settled_projects")) == []


def test_project_files__one_that_disappears_stays_and_is_listed_no_more(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    path = drop_project(platform)
    drop_project(platform, "other")
    tick(instance, "project_files")
    for name in ("street", "other"):
        row = find_project(platform.database, name)
        assert row is not None
        update_project(platform.database, name, sourced_config_hash=row.config_hash)
    add_members(platform, ["generic-a"])
    assert sorted(relisted(instance)) == ["other", "street"]

    path.rename(path.with_suffix(".away"))
    skipped = tick(instance, "project_files").skip_reason
    assert skipped is not None
    assert "not listed again: street" in str(skipped.skip_message)
    assert relisted(instance) == ["other"]
    assert find_project(platform.database, "street") is not None
    assert len(find_members(platform.database, "street")) == 1
    assert len(requests_of(tick(instance, "wanted_videos"))) == 1  # what it has is still worked on

    path.with_suffix(".away").rename(path)
    assert sorted(relisted(instance)) == ["other", "street"]
    # a folder that is missing as a whole is not mounted: nothing has disappeared
    path.parent.rename(path.parent.with_name("unmounted"))
    assert sorted(relisted(instance)) == ["other", "street"]


def relisted(instance: dg.DagsterInstance) -> list[str]:
    """Return the projects that the schedule asks for."""
    definition = defs.get_repository_def().get_schedule_def("relist_sources")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC),
        resources={"platform": PlatformResource()},
    )
    result, again = definition(context), definition(context)
    assert isinstance(result, list)
    assert isinstance(again, list)
    assert [r.run_key for r in result] == [r.run_key for r in again]  # a tick evaluated twice asks once
    assert all(request.run_config["ops"]["project_videos"]["config"]["force"] for request in result)
    return [request.partition_key for request in result]


def test_project_files__a_flood_of_files_comes_in_portions(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.sensors.project_files.MAX_LISTINGS_AT_ONCE", 3)
    for number in range(5):
        drop_project(platform, f"street{number:02d}")
    requests = requests_of(tick(instance, "project_files"))
    assert len(requests) == 3
    job = defs.resolve_job_def("list_sources")
    for request in requests[:-1]:
        tags = {**request.tags, PARTITION_TAG: str(request.partition_key)}
        instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED)
    assert len(requests_of(tick(instance, "project_files"))) == 1


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


@pytest.mark.parametrize(("sensor", "job"), [("project_files", "list_sources"), ("settled_projects", "build_dataset")])
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
    assert "street: 3 runs left it undone: tried again from 2" in str(skipped.skip_reason)

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
