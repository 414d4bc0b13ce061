import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy import text as sql

from data_miner_dagster.catalog.backups import copy_before_migration
from data_miner_dagster.catalog.schema import SourceListingRow, VideoRow
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.cli import dagster_history
from data_miner_dagster.cli.dagster_history import remove_stray_partitions
from data_miner_dagster.deployment import prepare_dagster_home
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.history.pruning import Ours, prune_history
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.partitions import VIDEOS
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.conftest import new_database
from data_miner_dagster_tests.support.dagster_history import KEYS, PICTURE, make_history
from data_miner_dagster_tests.support.sample_project import FOUND_AT, SampleVideo, build_project

pytestmark = pytest.mark.slow(12)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    return platform


def tables_with(url: str, text: str) -> list[str]:
    """Return the tables of a PostgreSQL database with a row that contains a text when the server casts it to text."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        holding = [
            name
            for name in names
            if connection.scalar(
                sql(f'SELECT count(*) FROM "{name}" AS row WHERE row::text LIKE :text'), {"text": f"%{text}%"}
            )
        ]
    engine.dispose()
    return sorted(holding)


def files_with(root: Path, text: str) -> list[str]:
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and (text in str(path) or text.encode() in path.read_bytes())
    )


def test_forget__unknown(run_command: RunCommand, platform: Platform) -> None:
    with pytest.raises(ConfigError, match="'nobody' is neither the key of a video nor a channel"):
        run_command("forget", "nobody", "--yes", "--root", platform.root)
    with pytest.raises(ConfigError, match="contradict each other"):
        run_command("forget", KEYS[0], "--keep-releases", "--delete-releases", "--root", platform.root)


def test_forget__a_dry_run_changes_nothing(run_command: RunCommand, platform: Platform) -> None:
    told = run_command("forget", KEYS[0], "--dry-run", "--root", platform.root).stdout
    counted, _, release = told.partition("\n")
    assert counted.endswith("; wanted by cyclists (1); 1 release shows frames of it")
    assert release.splitlines() == [
        "release cyclists v001 (1 of its 3 videos): will be removed",
        "1 video would be forgotten: files-aaa",
    ]
    assert find_video(platform.database, KEYS[0]) is not None


def test_forget__no_picture_and_no_name_is_left(run_command: RunCommand, platform: Platform) -> None:
    make_history(platform)
    assert "dagster_home/history/runs/index.db" in files_with(platform.root, KEYS[0])
    result = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert "no trace is left under the root, in the catalog or in Dagster's storage\n" in result.stdout
    assert result.stdout.endswith(
        "to build cyclists without the forgotten videos; a running `data-miner up` does this automatically\n"
    )
    assert "2 runs that may show or name forgotten videos were removed" in result.stdout
    assert files_with(platform.root, KEYS[0]) == []
    # the other video's own run is left; the project's run showed both videos and is gone
    (left,) = [name for name in files_with(platform.root, PICTURE) if not name.endswith("index.db")]
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert Path(left).stem == run.run_id
        assert instance.get_dynamic_partitions(str(VIDEOS.name)) == [KEYS[1]]
        assert instance.get_materialized_partitions(dg.AssetKey("frames")) == {KEYS[1]}
    assert run_command("forget", KEYS[1], "--yes", "--root", platform.root).exit_code == 0
    assert files_with(platform.root, PICTURE) == files_with(platform.root, KEYS[1]) == []


def test_forget__a_run_whose_events_are_damaged_goes_too(run_command: RunCommand, platform: Platform) -> None:
    make_history(platform)
    with dg.DagsterInstance.get() as instance:
        (damaged,) = (run.run_id for run in instance.get_runs() if run.tags.get("dagster/partition") == KEYS[1])
        events = Path(instance.root_directory) / "history" / "runs" / f"{damaged}.db"
    assert events.is_file()
    events.write_bytes(b"no database" * 500)
    result = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert result.exit_code == 0, result.output
    assert "3 runs that may show or name forgotten videos were removed" in result.stdout
    assert not events.exists()
    assert files_with(platform.root, KEYS[0]) == []


def test_forget__what_pruning_kept_goes_too(run_command: RunCommand, platform: Platform) -> None:
    make_history(platform)
    frames, dataset = dg.AssetKey("frames"), dg.AssetKey("dataset")
    with dg.DagsterInstance.get() as instance:
        assert prune_history(instance, Ours([frames, dataset], []), timedelta(0), now=datetime.now(UTC)).num_runs == 3
        assert instance.get_materialized_partitions(frames) == set(KEYS)
    assert files_with(platform.root, PICTURE) == ["dagster_home/history/runs/index.db"]
    assert run_command("forget", KEYS[0], "--yes", "--root", platform.root).exit_code == 0
    assert files_with(platform.root, KEYS[0]) == []
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(frames) == {KEYS[1]}
        assert instance.get_materialized_partitions(dataset) == set()  # it showed both videos


def test_forget__copies_that_migrations_made_of_the_catalog_go(run_command: RunCommand, platform: Platform) -> None:
    copy = copy_before_migration(platform.layout.catalog_file, "0002")
    assert files_with(platform.root, KEYS[0]).count(copy.name) == 1
    result = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert "no trace is left under the root, in the catalog or in Dagster's storage\n" in result.stdout
    assert not copy.exists()


def test_forget__what_a_person_wrote_is_named_and_stays(run_command: RunCommand, platform: Platform) -> None:
    file = platform.layout.project_files / "cyclists.yaml"
    file.parent.mkdir()
    file.write_text("urls: [https://videos.example/files-aaa.mp4]\n")
    result = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"remaining: {file}: its content\n1 place names or may name forgotten videos")


@pytest.fixture
def catalog_on_server(postgres_server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a catalog on a PostgreSQL server, which all commands use."""
    with new_database(postgres_server_url) as url:
        monkeypatch.setenv("DATA_MINER_CATALOG_URL", url)
        yield url


@pytest.mark.postgres
def test_forget__nothing_is_left_on_a_server(
    run_command: RunCommand,
    tmp_path: Path,
    postgres_url: str,
    catalog_on_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    platform = build_project(tmp_path, catalog_url=catalog_on_server)
    release_project(platform, "cyclists")
    settings = platform.layout.dagster_home / "dagster.yaml"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"storage": {"postgres": {"postgres_url": postgres_url}}}))
    make_history(platform)
    assert set(tables_with(postgres_url, KEYS[0])) >= {
        "asset_check_executions",
        "asset_keys",
        "backfill_tags",
        "bulk_actions",
        "dynamic_partitions",
        "event_logs",
        "job_ticks",
        "kvs",
        "run_tags",
        "runs",
    }
    with monkeypatch.context() as patched:  # what the search reports if nothing was deleted
        patched.setattr(dagster_history, "forget_in_history", lambda *_: 0)
        forgotten = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert forgotten.exit_code == 1
    assert "remaining: Dagster's storage: table event_logs\n" in forgotten.stderr
    result = run_command("forget", KEYS[0], "--yes", "--root", platform.root)
    assert "no trace is left under the root, in the catalog or in Dagster's storage\n" in result.stdout
    assert tables_with(postgres_url, KEYS[0]) == []
    assert tables_with(postgres_url, PICTURE) == ["event_logs"]
    assert tables_with(catalog_on_server, KEYS[0]) == []
    assert "videos" in tables_with(catalog_on_server, KEYS[1])
    run_command("forget", KEYS[1], "--yes", "--root", platform.root)
    assert tables_with(postgres_url, KEYS[1]) == tables_with(postgres_url, PICTURE) == []
    platform.database.dispose()


def test_forget__a_channel_is_not_named_either(run_command: RunCommand, platform: Platform) -> None:
    channel = "UC1234567890"
    with platform.database.transaction() as session:
        for key in KEYS:
            session.get_one(VideoRow, key).channel_id = channel
        address = f"https://videos.example/channel/{channel}"
        session.add(SourceListingRow(project_name="cyclists", source="channels", query=address, listed_at=FOUND_AT))
    assert run_command("forget", channel, "--yes", "--root", platform.root).exit_code == 0
    assert files_with(platform.root, channel) == []


def test_forget__kept_releases_are_named(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("forget", KEYS[0], "--keep-releases", "--yes", "--root", platform.root)
    assert result.exit_code == 0
    assert "files of kept releases show or name forgotten videos" in result.stdout


def test_removal__leaves_nothing_for_doctor(run_command: RunCommand, platform: Platform) -> None:
    assert remove_stray_partitions(platform) == 0  # Dagster has no partitions yet
    prepare_dagster_home(platform.layout)
    root = ["--yes", "--root", str(platform.root)]
    run_command("doctor", "--fix", *root[1:])  # adds all partitions
    run_command("delete-videos", KEYS[0], "--force", *root)
    run_command("delete-project", "cyclists", "--files", "--releases", *root)
    run_command("cleanup-orphans", *root)
    result = run_command("doctor", *root[1:])
    assert (result.exit_code, result.stdout) == (0, "catalog, files and partitions agree\n")


def test_forget__a_release_that_cannot_be_read_is_named_and_the_rest_goes(
    run_command: RunCommand, platform: Platform
) -> None:
    build_project(platform.root, name="walkers", videos=(SampleVideo("files-zzz"),))
    release_project(platform, "walkers")
    damaged = platform.layout.release_folder("cyclists", "v001") / "release.json"
    damaged.write_text("{")
    result = run_command("forget", "files-zzz", "--yes", "--root", platform.root)
    assert result.exit_code == 1
    line = f"release cyclists v001 may show or name forgotten videos: {damaged} is damaged"
    assert result.stderr.count(line) == 2  # before the question and after the removal
    assert f"remaining: {line}" in result.stderr
    assert "no trace is left" not in result.output
    assert not platform.layout.release_folder("walkers", "v001").exists()
    assert find_video(platform.database, "files-zzz") is None
