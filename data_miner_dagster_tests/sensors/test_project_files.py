"""The sensor registers the project files of the watched folder, on a real instance and a real catalog."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.batches import end_batch, open_batches
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import delete_project, find_projects, update_project
from data_miner_dagster.config.loading import ParseFile, load_project_file, parse_file
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import ProjectFile
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.schedules import relist_sources
from data_miner_dagster.sensors.project_files import WatchedFolder, register_project_files
from data_miner_dagster_tests.sensors.ticks import (
    Lines,
    add_members,
    drop_project,
    list_projects,
    reason_of,
    requests_of,
    tick,
)


def test_wanted_work__a_dropped_file_is_registered_and_listed_once(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    (request,) = requests_of(tick(instance))
    assert (request.job_name, request.partition_key) == ("list_sources", "street")
    assert instance.get_dynamic_partitions("projects") == ["street"]
    assert reason_of(tick(instance)) == "street: sourcing is in progress"
    list_projects(instance, platform, "street")
    assert reason_of(tick(instance)) == "street: it has no videos"
    drop_project(platform, description="another")
    (again,) = requests_of(tick(instance))
    assert again.run_key != request.run_key


def test_register__a_file_is_read_once_in_the_processes_of_one_up(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def parse(_workers: object, path: Path) -> dict[str, object]:
        reads.append(path.name)
        return parse_file(path)

    monkeypatch.setattr("data_miner_dagster.sensors.project_files.ProjectFileWorkers.parse", parse)
    monkeypatch.setenv("DATA_MINER_SESSION", "one")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    drop_project(platform)
    assert WatchedFolder(platform).register()
    assert not WatchedFolder(platform).register()
    assert reads == ["street.yaml"]
    drop_project(platform, description="another")
    later = WatchedFolder(platform)
    assert later.register()
    assert not later.register()
    monkeypatch.setenv("DATA_MINER_SESSION", "two")  # after a restart, the environment variables may differ
    assert WatchedFolder(platform).register()
    delete_project(platform.database, "street")
    assert WatchedFolder(platform).register()
    assert reads == ["street.yaml"] * 4


def test_register__a_refused_file_is_read_by_every_process(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_MINER_SESSION", "one")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    platform.layout.project_files.mkdir(parents=True, exist_ok=True)
    (platform.layout.project_files / "bad.yaml").write_text("name: bad\nfiltring: {}\n")
    for _ in range(2):
        folder = WatchedFolder(platform)
        assert folder.register()
        assert len(folder.refused) == 1


def test_wanted_work__a_wrong_file_is_named_and_holds_up_no_other(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform, "good")
    (platform.layout.project_files / "bad.yaml").write_text("name: bad\nfiltring: {}\n")
    (request,) = requests_of(tick(instance))
    assert request.partition_key == "good"
    assert "project file refused: bad.yaml" in reason_of(tick(instance))


def test_wanted_work__a_file_that_stays_refused_is_logged_once(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    file = platform.layout.project_files / "bad.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    num_logged = []
    for text in ("filtring: {}", "filtring: {}", "filtring: {}\nx: 1"):
        file.write_text(f"name: bad\n{text}\n")
        os.utime(file, (len(text), len(text)))  # the same text keeps its time, so the file counts as unchanged
        lines = Lines()
        assert "project file refused" in reason_of(tick(instance, lines))
        num_logged.append(sum("bad.yaml" in line for line in lines.logged))
    assert num_logged == [1, 0, 1]  # logged again only when the error is a different one


def test_watched_folder__reads_what_has_changed_alone(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(path: Path, limits: ProjectLimits, parse: ParseFile) -> ProjectFile:
        read.append(path.name)
        return load_project_file(path, limits, parse)

    monkeypatch.setattr("data_miner_dagster.operations.sourcing.registering.load_project_file", load)
    folder = WatchedFolder(platform)
    for name in ("a", "b"):
        drop_project(platform, name)
    assert folder.register()
    assert not folder.register()
    drop_project(platform, "b", description="another")
    assert folder.register()
    delete_project(platform.database, "a")  # the command that removes a project moves its file away first
    assert folder.register()
    assert read == ["a.yaml", "b.yaml", "b.yaml", "a.yaml"]


def test_register_project_files__one_file_decides_for_no_other(platform: Platform) -> None:
    folder = platform.layout.project_files
    drop_project(platform, "good")
    assert register_project_files(platform) == []
    drop_project(platform, "good").rename(folder / "a_copy.yaml")  # sorts before good.yaml
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
    assert f"is already defined by {folder / 'good.yaml'}" in refused[0]
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


def test_wanted_work__a_file_that_disappears_leaves_its_project_which_is_listed_no_more(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    path = drop_project(platform)
    drop_project(platform, "other")
    list_projects(instance, platform, "street", "other")
    add_members(platform, ["generic-a"])
    assert relisted(platform) == ["other", "street"]

    path.rename(path.with_suffix(".away"))
    (request,) = requests_of(tick(instance))
    assert request.job_name == "download_videos"  # work on its videos continues
    assert relisted(platform) == ["other"]
    update_project(platform.database, "street", sourced_config_hash=None)
    assert "street: its project file was removed, so its sources are not listed" in reason_of(tick(instance))
    assert len(find_members(platform.database, "street")) == 1
    # if the whole folder is missing, it is not mounted, so no project file counts as removed
    update_project(platform.database, "street", sourced_config_hash="of another time")
    path.parent.rename(path.parent.with_name("unmounted"))
    (request,) = requests_of(tick(instance))
    assert (request.job_name, request.partition_key) == ("list_sources", "street")


def test_wanted_work__a_flood_of_files_waits_in_the_catalog(instance: dg.DagsterInstance, platform: Platform) -> None:
    for number in range(5):
        drop_project(platform, f"street{number:02d}")
    asked = [request.partition_key for request in requests_of(tick(instance))]
    assert asked == ["street00", "street01"]  # one running, one queued
    assert "street02: it is waiting for a free slot for sourcing" in reason_of(tick(instance))


def relisted(platform: Platform) -> list[str]:
    """Return the projects that the schedule lists again, and end their batches."""
    result = relist_sources(dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 1, tzinfo=UTC)))
    assert isinstance(result, list)
    for batch in open_batches(platform.database):
        if batch.stage is WorkStage.SOURCING:
            end_batch(platform.database, batch.id, "listed")
    return sorted(str(request.partition_key) for request in result)


def refused_files(platform: Platform) -> list[str]:
    folder = WatchedFolder(platform)
    folder.register()
    return folder.refused
