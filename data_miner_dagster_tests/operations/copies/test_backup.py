"""Test that backups and restores are complete, consistent, resumed after kills, and free of secrets."""

import gzip
import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_miner_dagster.catalog.claims import try_claim
from data_miner_dagster.catalog.copying import catalog_tables, count_rows
from data_miner_dagster.catalog.outside_copies import find_outside_copies
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.cli.main import app
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.copies import CopyKind
from data_miner_dagster.domain.errors import CatalogError, ClaimHeldError, ConfigError, ObjectError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.export.manifest import damaged_files
from data_miner_dagster.operations.copies.backup import make_backup
from data_miner_dagster.operations.copies.restore import restore_root
from data_miner_dagster.operations.copies.retention import keep_latest
from data_miner_dagster.operations.copies.snapshots import blob_name, read_snapshots
from data_miner_dagster.operations.object_stores import open_place
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.storage.atomic import atomic_folder
from data_miner_dagster.storage.folder_store import FolderStore
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster_tests.operations.copies.killing import kill_at_request
from data_miner_dagster_tests.support.buckets import BUCKET, Fault, FaultyBuckets
from data_miner_dagster_tests.support.sample_project import build_platform, build_project

pytestmark = pytest.mark.slow(13)

ADDRESS = f"s3://{BUCKET}/copies"
NEVER_COPIED = {"catalog.sqlite", "catalog_in_use", "dagster_home", "review_access", "up.lock"}


@pytest.fixture
def platform(released_root: Path) -> Platform:
    """Return a root with a project and a release, and with files that no backup may contain."""
    platform = build_platform(released_root)
    layout = platform.layout
    layout.project_files.mkdir()
    (layout.project_files / "cyclists.yaml").write_text("name: cyclists\n")
    layout.dagster_home.mkdir()
    (layout.dagster_home / "dagster.yaml").write_text("password: hunter22\n")
    layout.review_access.mkdir()
    (layout.review_access / "session-abc").write_text("hunter22")
    layout.up_lock.write_text("{}")
    return platform


def _files(root: Path) -> dict[str, bytes]:
    """Return the content of each file in a root that a backup contains, by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0].removesuffix("-wal").removesuffix("-shm") not in NEVER_COPIED
    }


def _counts(platform: Platform) -> dict[str, int]:
    with platform.database.engine.connect() as connection:
        counts = count_rows(connection, catalog_tables())
    del counts["outside_copies"], counts["claims"]  # written by the backup itself
    return counts


def _restored(store: object, root: Path) -> Platform:
    restore_root(store, StorageLayout(root))  # type: ignore[arg-type]
    return Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), root)


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_backup__restored_is_the_same_and_goes_on(
    kind: str, platform: Platform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "bucket":
        buckets: FaultyBuckets = request.getfixturevalue("buckets")
        store = open_place(buckets.config(), ADDRESS)
    else:
        store = open_place(platform.config.objects, str(tmp_path / "copies"))
    first = make_backup(platform, store)
    assert first.snapshot.num_files == len(_files(platform.root))
    assert (first.snapshot.num_gone, first.num_new_files > 20) == (0, True)
    second = make_backup(platform, store)
    assert second.num_new_files == 1  # the catalog, which now records the first backup
    restored = _restored(store, tmp_path / "again")
    assert _files(restored.root) == _files(platform.root)
    assert _counts(restored) == _counts(platform)
    assert not {path.name for path in restored.root.iterdir()} & (NEVER_COPIED - {"catalog.sqlite", "catalog_in_use"})
    assert release_project(restored, "cyclists").status is OutcomeStatus.REUSED
    release = restored.layout.release_folder("cyclists", "v001")
    assert damaged_files(release) == []
    linked = [path for path in release.rglob("*.jpg") if path.stat().st_nlink > 1]
    assert len(linked) == len(list(release.rglob("*.jpg"))) == 7  # hard links to one file each, as before
    assert [(row.kind, row.url, row.snapshot) for row in find_outside_copies(platform.database)] == [
        (CopyKind.BACKUP, store.shown, outcome.snapshot.id) for outcome in (first, second)
    ]


def test_backup__holds_no_secret(platform: Platform, tmp_path: Path) -> None:
    make_backup(platform, FolderStore(tmp_path / "copies"))
    for path in (tmp_path / "copies").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"hunter22" not in (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content), path


def test_backup__of_an_empty_root(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", through="sourcing")
    make_backup(platform, FolderStore(tmp_path / "copies"))
    assert _counts(_restored(FolderStore(tmp_path / "copies"), tmp_path / "again")) == _counts(platform)


def test_backup__dry_run_stores_nothing(platform: Platform, tmp_path: Path) -> None:
    outcome = make_backup(platform, FolderStore(tmp_path / "copies"), dry_run=True)
    assert outcome.num_new_files > 20
    assert not (tmp_path / "copies").exists()
    assert find_outside_copies(platform.database) == []
    assert [path.name for path in platform.root.iterdir() if path.name.startswith(".")] == []


def test_backup__into_the_root_itself(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="is inside the root"):
        make_backup(platform, FolderStore(platform.root / "copies"))


def test_backup__one_at_a_time(platform: Platform, tmp_path: Path) -> None:
    assert try_claim(platform.database, "backup") is not None
    with pytest.raises(ClaimHeldError, match="backup is in use"):
        make_backup(platform, FolderStore(tmp_path / "copies"))


def test_backup__while_work_goes_on_has_units_of_one_state(
    platform: Platform, buckets: FaultyBuckets, tmp_path: Path
) -> None:
    folder, video = platform.layout.frames_folder("files-aaa"), platform.layout.frames_folder("files-ccc")
    names = sorted(path.name for path in folder.iterdir())

    def replace_frames() -> None:
        with atomic_folder(folder) as partial:
            for name in names:
                (partial / name).write_bytes(f"second state of {name}".encode())
        shutil.rmtree(video, ignore_errors=True)

    buckets.faults.append(Fault("call", "PUT", after=4, call=replace_frames))
    store = open_place(buckets.config(concurrent_transfers=1), ADDRESS)
    outcome = make_backup(
        Platform(platform.config.model_copy(update={"objects": buckets.config(concurrent_transfers=1)}), platform.root),
        store,
    )
    restored = _restored(store, tmp_path / "again")
    again = restored.layout.frames_folder("files-aaa")
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        name: f"second state of {name}".encode() for name in names
    }
    assert not restored.layout.frames_folder("files-ccc").exists()
    assert outcome.snapshot.num_gone <= 1  # one if the removed folder had already been listed


def test_backup__killed_and_made_again(platform: Platform, buckets: FaultyBuckets, tmp_path: Path) -> None:
    settings = platform.config.model_copy(update={"objects": buckets.config(concurrent_transfers=1)})
    _ = platform.database
    kill_at_request(
        buckets, settings.model_dump_json(), ("backup", platform.root, ADDRESS), method="PUT", path="/files/", after=10
    )
    there = set(buckets.names("copies/files/"))
    assert len(there) >= 10
    assert buckets.names("copies/snapshots/") == []
    store = open_place(settings.objects, ADDRESS)
    with pytest.raises(ConfigError, match="has no complete backup"):
        restore_root(store, StorageLayout(tmp_path / "again"))
    outcome = make_backup(platform, store)
    sent = [line.split()[1] for line in buckets.requests if line.startswith("PUT") and "/files/" in line]
    assert len(sent) == outcome.num_new_files
    assert not {name.removeprefix(f"/{BUCKET}/") for name in sent} & there
    assert [path.name for path in platform.root.iterdir() if path.name.startswith(".")] == []
    assert _files(_restored(store, tmp_path / "again").root) == _files(platform.root)


def test_restore__killed_and_said_again(platform: Platform, buckets: FaultyBuckets, tmp_path: Path) -> None:
    settings = platform.config.model_copy(update={"objects": buckets.config(concurrent_transfers=1)})
    store = open_place(settings.objects, ADDRESS)
    make_backup(platform, store)
    root = tmp_path / "again"
    what = ("restore", root, ADDRESS)
    kill_at_request(buckets, settings.model_dump_json(), what, method="GET", path="/files/", after=10)
    with pytest.raises(CatalogError, match="a restore of a backup"):
        _ = Platform(settings, root).database
    num_there = len([path for path in root.rglob("*") if path.is_file() and ".restoring" not in path.parts]) - 1
    assert 0 < num_there < len(_files(platform.root))
    make_backup(platform, store)  # a later backup, which this restore does not use
    outcome = restore_root(store, StorageLayout(root))
    assert outcome.num_there == num_there
    assert outcome.snapshot.id == read_snapshots(store)[0].id
    assert _files(root) == _files(platform.root)
    assert _counts(Platform(settings, root)) == _counts(platform)


def test_restore__into_a_folder_with_something_in_it(platform: Platform, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "copies")
    make_backup(platform, store)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty \(it contains notes\.txt\)"):
        restore_root(store, StorageLayout(tmp_path / "again"))
    with pytest.raises(ConfigError, match="no backup 'other'"):
        restore_root(store, StorageLayout(tmp_path / "new"), snapshot_id="other")


def test_restore__of_a_damaged_content(platform: Platform, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "copies")
    make_backup(platform, store)
    table = platform.layout.filtered_table("cyclists")
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    (tmp_path / "copies" / blob_name(digest)).write_bytes(b"other")
    with pytest.raises(
        ObjectError,
        match=rf"{digest} is damaged .*, so .*filtered.* cannot be restored",
    ):
        restore_root(store, StorageLayout(tmp_path / "again"))
    assert not (tmp_path / "again" / "catalog.sqlite").exists()


def test_restore__writes_nowhere_else(platform: Platform, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "copies")
    snapshot = make_backup(platform, store).snapshot
    described = tmp_path / "copies" / "snapshots" / f"{snapshot.id}.json"
    whole = described.read_text()
    wrong = (
        "../outside",
        "/etc/cron.d/x",
        "projects/../../x",
        "dagster_home/dagster.yaml",
        "projects//x",
        "catalog.sqlite",
    )
    for number, path in enumerate(wrong):
        forged = gzip.compress(json.dumps([path, 1, 1, 1, "0" * 64, None]).encode() + b"\n")
        name = hashlib.sha256(forged).hexdigest()
        store.write(blob_name(name), forged)
        described.write_text(whole.replace(snapshot.files_sha256, name))
        root = tmp_path / f"again-{number}"
        with pytest.raises(ObjectError, match="which is not allowed"):
            restore_root(store, StorageLayout(root))
        assert {entry.name for entry in root.iterdir()} == {".restoring", "restoring.json"}
    assert not (tmp_path / "outside").exists()


def test_restore__nothing_is_at_work_and_files_are_those_of_the_new_root(platform: Platform, tmp_path: Path) -> None:
    file = platform.layout.project_files / "cyclists.yaml"
    project = find_project(platform.database, "cyclists")
    assert project is not None
    save_snapshot(platform.database, "cyclists", project.config, project.config_hash, str(file))
    assert try_claim(platform.database, "video/files-aaa") is not None
    make_backup(platform, FolderStore(tmp_path / "copies"))
    restored = _restored(FolderStore(tmp_path / "copies"), tmp_path / "again")
    assert try_claim(restored.database, "video/files-aaa") is not None
    moved = find_project(restored.database, "cyclists")
    assert moved is not None
    assert moved.config_file == str(restored.layout.project_files / "cyclists.yaml")


@pytest.mark.postgres
def test_backup__of_a_catalog_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    platform = build_project(tmp_path / "root", catalog_url=postgres_url)
    make_backup(platform, FolderStore(tmp_path / "copies"))
    restored = _restored(FolderStore(tmp_path / "copies"), tmp_path / "again")
    assert restored.database.file == tmp_path / "again" / "catalog.sqlite"
    assert _counts(restored) == _counts(platform)
    assert release_project(restored, "cyclists").status is OutcomeStatus.DONE


def test_keep_latest__removes_what_no_other_backup_names(platform: Platform, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "copies")
    first = make_backup(platform, store).snapshot
    table = platform.layout.frames_folder("files-aaa") / "000000.jpg"
    old = blob_name(hashlib.sha256(table.read_bytes()).hexdigest())
    table.unlink()
    table.write_bytes(b"new")
    second = make_backup(platform, store).snapshot
    would = keep_latest(platform, store, 1, dry_run=True)
    assert [snapshot.id for snapshot in would.snapshots] == [first.id]
    assert len(read_snapshots(store)) == 2
    done = keep_latest(platform, store, 1)
    assert done == would
    assert done.num_files == 3  # the old picture, the old catalog and the old list of files
    assert store.find(old) is None
    assert [snapshot.id for snapshot in read_snapshots(store)] == [second.id]
    assert _files(_restored(store, tmp_path / "again").root) == _files(platform.root)
    assert [row.snapshot for row in find_outside_copies(platform.database)] == [second.id]
    with closing(sqlite3.connect(tmp_path / "again" / "catalog.sqlite")) as catalog:
        assert catalog.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_backup__a_damaged_snapshot_stops_no_other(platform: Platform, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "copies")
    first, damaged, table = (make_backup(platform, store).snapshot for _ in range(3))
    assert table.files_sha256 == first.files_sha256  # no file has changed
    record = tmp_path / "copies" / "snapshots" / f"{damaged.id}.json"
    record.write_text("{")
    (tmp_path / "copies" / blob_name(table.files_sha256)).write_bytes(b"no list of files")
    unread: list[str] = []
    assert [one.id for one in read_snapshots(store, unread)] == [first.id, table.id]
    assert [line.partition(" (")[0] for line in unread] == [f"{record} is not a valid snapshot"]
    listed = CliRunner().invoke(app, ["backups", "--at", str(tmp_path / "copies"), "--root", str(platform.root)])
    assert (listed.exit_code, first.id in listed.stdout, str(record) in listed.stderr) == (1, True, True)
    new = make_backup(platform, store)
    assert new.snapshot.num_files == first.num_files
    assert new.num_new_files <= 2  # at most the catalog and the list of files
    for number, snapshot in enumerate((first.id, new.snapshot.id)):
        restore_root(store, StorageLayout(tmp_path / f"again-{number}"), snapshot_id=snapshot)
    with pytest.raises(ConfigError, match="is not a valid snapshot"):
        restore_root(store, StorageLayout(tmp_path / "again"), snapshot_id=damaged.id)
    with pytest.raises(ConfigError, match="is not a valid snapshot"):
        keep_latest(platform, store, 1)  # `keep_latest` must know which files the other snapshots need
