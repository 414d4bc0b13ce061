"""The sensor of project files, evaluated on a real instance and a real catalog."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project, find_projects, update_project
from data_miner_dagster.config.loading import ParseFile, load_project_file
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import ProjectFile
from data_miner_dagster.definitions import defs
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PARTITION_TAG
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.sensors.project_files import register_project_files
from data_miner_dagster_tests.sensors.ticks import Lines, add_members, drop_project, requests_of, tick


@pytest.mark.usefixtures("platform")
def test_project_files__no_files(instance: dg.DagsterInstance) -> None:
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
        resources = {"platform": PlatformResource()}
        lines = Lines()
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
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
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC),
        resources={"platform": PlatformResource()},
    ) as context:
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
