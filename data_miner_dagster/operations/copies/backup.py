"""Store the catalog as it was at one moment, and the files that it refers to, in a place outside the root.

A backup is consistent even while other work continues, because it reads the catalog first and the files afterwards.
All other code writes files before the rows that refer to them, so every file that the catalog names existed when the
catalog was read. The backup lacks only files that were removed or kept changing while it was made: the restored root
then looks as if a removal of these files had been interrupted. If the backup contains files that are newer than the
catalog, the restored root looks as if a run had been killed between writing files and rows, which the next run repairs
(docs/deploy/backup.md).
"""

import logging
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.claims import check_claim, hold_claim
from data_miner_dagster.catalog.outside_copies import record_backup
from data_miner_dagster.catalog.snapshots import snapshot_catalog
from data_miner_dagster.domain.errors import ConfigError, ObjectChangedError, ObjectError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.leftovers import held
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.operations.copies.snapshots import (
    FILES_PREFIX,
    FORMAT,
    FileRow,
    Snapshot,
    blob_name,
    read_rows,
    read_snapshots,
    sha256_of_blob,
    sort_key,
    write_snapshot,
    writing_rows,
)
from data_miner_dagster.operations.copies.units import UnitFile, UnitState, find_units, state_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.storage.atomic import PARTIAL_MARK, sweep_partials
from data_miner_dagster.storage.layout import StorageLayout

BACKUP_CLAIM: Final = "backup"
"""The claim that allows only one backup of a root, or one removal of its backups, at a time."""
_WORK_NAME: Final = "backup"
_SMALL_BYTES: Final = 16 << 20
"""A file of up to this size is read once, for both its hash and its copy."""
_READINGS: Final = 3
_TELL_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    """The result of a backup, or the expected result in a dry run."""

    snapshot: Snapshot
    num_new_files: int  # contents that the store did not have yet
    num_new_bytes: int


def make_backup(platform: Platform, store: ObjectStore, *, dry_run: bool = False) -> BackupOutcome:
    """Back up a root as a snapshot in `store`, without sending contents that the store already has.

    In a dry run, nothing is sent. A killed backup leaves no snapshot, and the next one reuses the contents sent so far.
    Only other backups and removals of backups are blocked.

    Raises:
        ConfigError: the store is inside the root, or one of its snapshots was made by a newer version of this package.
        ClaimHeldError: another backup of this root, or a removal of its backups, is running.
        ClaimLostError: another process has taken over the backup's claim.
        ObjectError: the store refuses a request.
        ObjectTransientError: the store does not answer.
    """
    _check_place(platform, store)
    with hold_claim(platform.database, BACKUP_CLAIM, wait_seconds=0) as claim, _work_folder(platform.root) as folder:
        work = _Work(platform.root, store, dry_run=dry_run)
        unread: list[str] = []
        earlier = read_snapshots(store, unread)
        for line in unread:
            logger.warning("%s", line)
        work.known = {digest for entry in store.entries(FILES_PREFIX) if (digest := _digest_of(entry.name)) is not None}
        catalog = StorageLayout(folder).catalog_file
        snapshot_catalog(platform.database, catalog)
        catalog_sha256 = work.store_file(catalog)
        table = folder / "files.jsonl.gz"
        with writing_rows(table) as writer:
            before = _Before(work.rows_of(earlier[-1], folder / "before.jsonl.gz") if earlier else iter(()))
            for rows in work.units_in_order(platform.layout, before, platform.config.objects.concurrent_transfers):
                check_claim(platform.database, claim)
                writer.add(rows)
        now = datetime.now(UTC)
        snapshot = Snapshot(
            format=FORMAT,
            id=f"{now:%Y%m%dT%H%M%S-%fZ}",
            made_at=now.isoformat(timespec="seconds"),
            version=version("data-miner-dagster"),
            root=str(platform.root),
            catalog_sha256=catalog_sha256,
            files_sha256=work.store_file(table),
            num_files=writer.num_files,
            num_bytes=writer.num_bytes,
            num_gone=work.num_gone,
        )
        if not dry_run:
            check_claim(platform.database, claim)
            write_snapshot(store, snapshot)
            record_backup(platform.database, store.shown, snapshot.id)
    return BackupOutcome(snapshot, work.num_new_files, work.num_new_bytes)


def _check_place(platform: Platform, store: ObjectStore) -> None:
    place = Path(store.shown)
    if "://" not in store.shown and place.resolve().is_relative_to(platform.root.resolve()):
        raise ConfigError(f"{place} is inside the root {platform.root}; choose a folder or bucket outside the root")


@contextmanager
def _work_folder(root: Path) -> Iterator[Path]:
    """Remove the folder left behind by a killed backup, then yield a new one for the catalog's copy and the tables."""
    sweep_partials(root, _WORK_NAME)
    folder = root / f"{PARTIAL_MARK}{uuid.uuid4().hex[:12]}-{_WORK_NAME}"
    folder.mkdir(mode=0o700)
    try:
        with held(folder):  # `doctor` removes what nobody holds
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest_of(name: str) -> bytes | None:
    digest = sha256_of_blob(name)
    return bytes.fromhex(digest) if digest is not None else None


class _Before:
    """The table of the previous snapshot, read row by row while the root is walked in the same order."""

    def __init__(self, rows: Iterator[FileRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def sha256_of(self, file: UnitFile) -> str | None:
        """Return the sha256 of a file, or None if the file has changed since the previous snapshot or is new.

        The files of successive calls must be in the order of `sort_key`.
        """
        key = sort_key(file.path)
        while self._next is not None and sort_key(self._next.path) < key:
            self._next = next(self._rows, None)
        row = self._next
        if row is None or row.path != file.path:
            return None
        is_same = (row.size_bytes, row.mtime_ns, row.inode) == (file.size_bytes, file.mtime_ns, file.inode)
        return row.sha256 if is_same else None


class _Work:
    """One running backup. Thread-safe."""

    def __init__(self, root: Path, store: ObjectStore, *, dry_run: bool) -> None:
        self.known = set[bytes]()  # digests of the contents that the store has, at about 100 bytes of memory each
        self.num_gone = 0
        self.num_new_files = 0
        self.num_new_bytes = 0
        self._root = root
        self._store = store
        self._dry_run = dry_run
        self._lock = threading.Lock()
        self._told_at = time.monotonic()

    def rows_of(self, snapshot: Snapshot, table: Path) -> Iterator[FileRow]:
        """Download the list of files of a snapshot, and yield its rows.

        The rows end where the list is damaged, so that later files are read again. The list itself may be sent again.
        """
        try:
            self._store.download(blob_name(snapshot.files_sha256), table)
            yield from read_rows(table, snapshot.id)
        except ObjectError as error:
            logger.warning("files are read again although they may not have changed: %s", error)
            self.known.discard(bytes.fromhex(snapshot.files_sha256))

    def units_in_order(self, layout: StorageLayout, before: "_Before", num_at_once: int) -> Iterator[list[FileRow]]:
        """Store up to `num_at_once` units at the same time. Yield the rows of each unit, in the order of the units."""
        waiting: deque[Future[list[FileRow]]] = deque()
        with ThreadPoolExecutor(num_at_once, "backup") as threads:
            try:
                for unit in find_units(layout):
                    state = state_of(self._root, unit)
                    hashes = {file.path: before.sha256_of(file) for file in state.files} if state is not None else {}
                    waiting.append(threads.submit(self._store_unit, unit, state, hashes))
                    if len(waiting) > 4 * num_at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def _store_unit(self, unit: Path, state: UnitState | None, hashes: dict[str, str | None]) -> list[FileRow]:
        """Store the files of a unit. Return its rows, or an empty list if the unit was removed or kept changing."""
        for _ in range(_READINGS):
            if state is None:
                break
            try:
                rows = [self._row(file, hashes.get(file.path)) for file in state.files]
                is_whole = True
            except (FileNotFoundError, ObjectChangedError):
                rows, is_whole = [], False
            now = state_of(self._root, unit)
            if is_whole and now == state:
                return rows
            state, hashes = now, {}  # the hashes belong to the previous state
        with self._lock:
            self.num_gone += 1
        logger.info("%s was removed, or kept changing while it was being read; this backup does not contain it", unit)
        return []

    def _row(self, file: UnitFile, known: str | None) -> FileRow:
        path = self._root / file.path
        if known is not None and bytes.fromhex(known) in self.known:
            return FileRow(file.path, file.size_bytes, file.mtime_ns, file.inode, known, file.link)
        return FileRow(file.path, file.size_bytes, file.mtime_ns, file.inode, self.store_file(path), file.link)

    def store_file(self, path: Path) -> str:
        """Send the content of a file, unless the store has it or this is a dry run. Return the content's sha256.

        Raises:
            FileNotFoundError: the file was removed.
            ObjectChangedError: the file changed while it was being read.
        """
        if path.stat().st_size <= _SMALL_BYTES:
            content = path.read_bytes()
            digest = sha256(content).hexdigest()
            self._send(digest, len(content), partial(self._store.write, blob_name(digest), content))
            return digest
        digest = sha256_of_file(path)
        self._send(digest, path.stat().st_size, partial(self._upload, path, digest))
        return digest

    def _upload(self, path: Path, digest: str) -> None:
        if self._store.upload(path, blob_name(digest)) != digest:
            self._store.remove(blob_name(digest))
            raise ObjectChangedError(f"{path} changed while it was being read")

    def _send(self, digest: str, size_bytes: int, send: partial[None]) -> None:
        key = bytes.fromhex(digest)
        if key in self.known:
            return
        if not self._dry_run:
            send()
        with self._lock:
            if key not in self.known:
                self.known.add(key)
                self.num_new_files += 1
                self.num_new_bytes += size_bytes
            is_time, now = time.monotonic() - self._told_at > _TELL_SECONDS, time.monotonic()
            if is_time:
                self._told_at = now
        if is_time:
            logger.info("backup: sent %s, %s", counted(self.num_new_files, "file"), size_text(self.num_new_bytes))
