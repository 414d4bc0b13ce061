"""`data-miner migrate-to` moves a root's catalog and history from SQLite to PostgreSQL without loss."""

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, inspect, select, text

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.copying import catalog_tables, dagster_url_beside
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.projects import find_projects, save_snapshot
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.environment import CATALOG_URL_VARIABLE, DAGSTER_URL_VARIABLE
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.domain.errors import CatalogError, ConfigError, DataMinerError
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.partitions import VIDEOS
from data_miner_dagster.storage.root_lock import take_root_lock
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.catalog import add_project
from data_miner_dagster_tests.support.dagster_history import KEYS, make_history
from data_miner_dagster_tests.support.sample_project import build_project

pytestmark = pytest.mark.postgres
FRAMES = dg.AssetKey("frames")


@pytest.fixture(scope="module")
def filled_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in SQLite, with a release, and with runs, checks, partitions and ticks in Dagster's storage."""
    platform = build_project(tmp_path_factory.mktemp("filled") / "root")
    release_project(platform, "cyclists")
    with pytest.MonkeyPatch.context() as patches:
        patches.delenv("DAGSTER_HOME", raising=False)
        make_history(platform)
        with open_instance(platform) as instance:
            instance.event_log_storage.set_concurrency_slots("download", 4)
            # The first run materializes again after the second, and a person materializes by hand.
            first, *_, last = instance.fetch_materializations(FRAMES, limit=10, ascending=True).records
            instance.store_event(first.event_log_entry._replace(timestamp=last.timestamp + 1))
            instance.report_runless_asset_event(dg.AssetMaterialization(FRAMES, partition=KEYS[0]))
        os.environ.pop("DAGSTER_HOME", None)
    platform.database.dispose()
    return platform.root


@pytest.fixture
def platform(filled_root: Path, tmp_path: Path) -> Platform:
    """A platform on a copy of `filled_root`."""
    return open_platform(shutil.copytree(filled_root, tmp_path / "root"))


def rows_of(database: Database) -> dict[str, list[Any]]:
    with database.reading() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key))]
            for table in catalog_tables()
        }


def history_of(platform: Platform) -> dict[str, Any]:
    """Return the platform's history as Dagster itself reports it."""
    with open_instance(platform) as instance:
        runs = [record.dagster_run for record in instance.get_run_records(ascending=True)]
        materializations = instance.fetch_materializations(FRAMES, limit=100, ascending=True).records
        latest = instance.get_latest_materialization_event(FRAMES)
        (state,) = instance.all_instigator_state()
        check = dg.AssetCheckKey(FRAMES, "is_whole")
        return {
            "runs": runs,
            "statistics": [instance.get_run_stats(run.run_id) for run in runs],
            "events": [instance.all_logs(run.run_id) for run in runs],
            "job snapshots": [instance.get_job_snapshot(str(run.job_snapshot_id)) for run in runs],
            "materializations": [record.event_log_entry for record in materializations],
            "latest": latest,
            "materialized": instance.get_materialized_partitions(FRAMES),
            "by partition": sorted(
                instance.event_log_storage.get_latest_storage_id_by_partition(
                    FRAMES, dg.DagsterEventType.ASSET_MATERIALIZATION
                )
            ),
            "tags": sorted(map(str, instance.get_event_tags_for_asset(FRAMES))),  # their order is undefined
            "assets": sorted(instance.get_asset_keys()),
            "partitions": instance.get_dynamic_partitions(str(VIDEOS.name)),
            "checks": [
                (record.run_id, record.status, record.event and record.event.timestamp)
                for record in instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
            ],
            "backfills": instance.get_backfills(),
            "pool": instance.event_log_storage.get_concurrency_info("download").slot_count,
            "state": state,
            "ticks": [tick.tick_data for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)],
            "cursors": instance.run_storage.get_cursor_values({f"seen {key}" for key in KEYS}),
            "storage id": instance.run_storage.get_run_storage_id(),  # type: ignore[attr-defined]
        }


def reopened(platform: Platform) -> Platform:
    """Open the platform again, as another process would."""
    open_platform.__globals__["_open"].cache_clear()
    os.environ.pop(DAGSTER_URL_VARIABLE, None)
    return open_platform(platform.root)


def test_migrate_to__nothing_is_lost(run_command: RunCommand, platform: Platform, postgres_url: str) -> None:
    before, history = rows_of(platform.database), history_of(platform)
    platform.database.dispose()
    counted = run_command("migrate-to", postgres_url, "--dry-run", "--root", platform.root)
    assert platform.layout.catalog_file.exists()
    moved = run_command("migrate-to", postgres_url, "--root", platform.root)
    assert (counted.exit_code, moved.exit_code) == (0, 0)
    assert counted.stdout.splitlines() == moved.stdout.splitlines()[:2]  # the same counts

    now = reopened(platform)
    assert now.database.is_postgresql
    assert rows_of(now.database) == before
    assert history_of(now) == history
    assert not list(platform.root.glob("*.sqlite*"))
    assert [path.name for path in platform.layout.before_move.iterdir()] == ["catalog.sqlite"]
    assert not list((platform.root / "dagster_home" / "history").glob("**/*.db"))
    assert run_command("migrate-to", postgres_url, "--root", platform.root).stdout.startswith("the catalog is in ")
    with pytest.raises(ConfigError, match=r"to postgresql.* is complete; only SQLite"):
        run_command("migrate-to", f"{postgres_url}&application_name=other", "--root", platform.root)


def test_migrate_to__what_comes_afterwards_follows_what_was_there(
    run_command: RunCommand, platform: Platform, postgres_url: str
) -> None:
    run_command("migrate-to", postgres_url, "--root", platform.root)
    now = reopened(platform)
    add_project(now.database, "trams")
    with now.database.transaction() as session:
        session.execute(text("INSERT INTO download_starts (site, started_at) VALUES ('a', now())"))
    assert [row.name for row in find_projects(now.database)] == ["cyclists", "trams"]
    with open_instance(now) as instance:
        last = instance.fetch_materializations(FRAMES, limit=1).records[0]

        @dg.asset(partitions_def=VIDEOS)
        def frames() -> None: ...

        assert dg.materialize([frames], partition_key=KEYS[0], instance=instance).success
        newest = instance.fetch_materializations(FRAMES, limit=1).records[0]
        assert newest.storage_id > last.storage_id
        assert newest.partition_key == KEYS[0]
        assert instance.get_latest_materialization_event(FRAMES) == newest.event_log_entry
    assert "cyclists" in run_command("status", "--root", platform.root).stdout
    assert (
        run_command("forget", KEYS[0], "--yes", "--root", platform.root).exit_code == 0
    )  # including what was recorded before the move


@pytest.mark.parametrize("step", ["copy_catalog", "switching", "history"])
def test_migrate_to__killed_at_any_step_and_said_again(
    run_command: RunCommand, platform: Platform, postgres_url: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        _die_after(step, patches)
        with pytest.raises(_Killed):
            run_command("migrate-to", postgres_url, "--root", platform.root)
    in_between = reopened(platform)
    is_switching = step == "history"
    if is_switching:
        with pytest.raises(CatalogError, match=r"the move of the catalog of .* was interrupted"):
            _ = in_between.database
    else:  # the root is unchanged and usable
        save_snapshot(in_between.database, "trams", {}, "0", None)
        in_between.database.dispose()
    os.environ.pop(DAGSTER_URL_VARIABLE, None)
    assert run_command("migrate-to", postgres_url, "--root", platform.root).exit_code == 0
    now = reopened(platform)
    assert [row.name for row in find_projects(now.database)] == (
        ["cyclists"] if is_switching else ["cyclists", "trams"]
    )
    assert len(find_videos(now.database)) == 5
    with open_instance(now) as instance:
        assert instance.get_materialized_partitions(FRAMES) == set(KEYS)
        assert instance.get_runs_count() == 3


class _Killed(BaseException):
    pass


def _die_after(step: str, patches: pytest.MonkeyPatch) -> None:
    """Raise `_Killed` once a step is done; for "switching", just before the copy is recorded as complete."""
    from data_miner_dagster.catalog import copying
    from data_miner_dagster.storage import moved_catalog

    def dying(function: Any, *, is_last: Any = lambda *_arguments: True, before: bool = False) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if before and is_last(*arguments):
                raise _Killed
            result = function(*arguments, **named)
            if is_last(*arguments):
                raise _Killed
            return result

        return call

    match step:
        case "copy_catalog":
            patches.setattr(copying, step, dying(copying.copy_catalog))
        case "switching":
            is_switching = lambda _layout, moved: moved.state == "switching"  # noqa: E731
            write = moved_catalog.write_moved_catalog
            patches.setattr(moved_catalog, "write_moved_catalog", dying(write, is_last=is_switching, before=True))
        case "history":
            of_step = lambda path, *_arguments: path.name == step  # noqa: E731
            patches.setattr(Path, "rename", dying(Path.rename, is_last=of_step))


def test_migrate_to__not_while_somebody_works(run_command: RunCommand, platform: Platform, postgres_url: str) -> None:
    command = ("migrate-to", postgres_url, "--root", platform.root)
    lock = take_root_lock(platform.layout.up_lock)
    with pytest.raises(DataMinerError, match="`data-miner up`, `restore` or `migrate-to` is already running on"):
        run_command(*command)
    os.close(lock)
    with (
        hold_claim(platform.database, "video/files-aaa", wait_seconds=0),
        pytest.raises(ConfigError, match="video/files-aaa is in use"),
    ):
        run_command(*command)
    with open_instance(platform) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition(name="g").to_job())
    with pytest.raises(ConfigError, match=rf"Dagster has 1 active run \({run.run_id}\); wait until no run is active"):
        run_command(*command)
    assert not platform.layout.moved_catalog.exists()


def test_migrate_to__not_into_what_is_somebody_elses(
    run_command: RunCommand, platform: Platform, postgres_url: str
) -> None:
    from data_miner_dagster.catalog.migrations import initialize

    other = Database(postgres_url)
    initialize(other)
    add_project(other, "theirs")
    with pytest.raises(ConfigError, match=r"is not empty, since it has rows in projects \(1\); use an empty database"):
        run_command("migrate-to", postgres_url, "--root", platform.root)
    assert [row.name for row in find_projects(other)] == ["theirs"]
    other.dispose()
    assert [row.name for row in find_projects(reopened(platform).database)] == ["cyclists"]
    with pytest.raises(ConfigError, match="is not a PostgreSQL URL"):
        run_command("migrate-to", "sqlite:////tmp/other.sqlite", "--root", platform.root)
    with pytest.raises(ConfigError, match="the port is not a number; write postgresql://user:password@host:5432/datab"):
        run_command("migrate-to", "postgresql://host:port/database", "--root", platform.root)


def test_migrate_to__a_password_is_not_written_down(
    run_command: RunCommand, platform: Platform, postgres_url: str, tmp_path: Path
) -> None:
    url = postgres_url.replace("postgres:@", "postgres:hunter2@")
    assert "hunter2" in url
    told = run_command("migrate-to", url, "--root", platform.root)
    assert f"set {CATALOG_URL_VARIABLE} to the whole URL" in told.stdout
    assert "hunter2" not in told.stdout + told.stderr
    named = [path for path in platform.root.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert named == []
    with pytest.raises(ConfigError, match=f"its password is not stored; set {CATALOG_URL_VARIABLE}"):
        _ = reopened(platform).database
    os.environ[CATALOG_URL_VARIABLE] = url
    assert len(find_videos(reopened(platform).database)) == 5
    os.environ[CATALOG_URL_VARIABLE] = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with pytest.raises(ConfigError, match="must not name SQLite"):
        _ = reopened(platform).database


def test_migrate_to__a_reference_is_remembered(
    run_command: RunCommand, platform: Platform, postgres_url: str, tmp_path: Path
) -> None:
    secret = tmp_path / "catalog_url"
    secret.write_text(postgres_url.replace("postgres:@", "postgres:hunter2@") + "\n")
    told = run_command("migrate-to", f"file:{secret}", "--root", platform.root)
    assert f"the catalog is in file:{secret}" in told.stdout
    assert len(find_videos(reopened(platform).database)) == 5
    secret.unlink()
    with pytest.raises(ConfigError, match=r"cannot be read.*moved_catalog\.json refers to it"):
        _ = reopened(platform).database


def test_dagster_url_beside__keeps_other_options(postgres_url: str) -> None:
    assert dagster_url_beside("postgresql+psycopg2://u:p%40@h:5/db?options=-cstatement_timeout%3D5") == (
        "postgresql+psycopg2://u:p%40@h:5/db?options=-cstatement_timeout%3D5+-csearch_path%3Ddagster"
    )
    engine = create_engine(dagster_url_beside(postgres_url))
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
        assert connection.scalar(text("SHOW search_path")) == "dagster"
    engine.dispose()
