"""Write a backup into an empty folder, which becomes a root.

The catalog is written last, because a root with a catalog looks complete, and work on it could start. If the process
is killed, the same call continues where it stopped.
"""

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.snapshots import settle_restored
from data_miner_dagster.domain.errors import ConfigError, ObjectError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.operations.copies.snapshots import (
    FileRow,
    Snapshot,
    blob_name,
    checked_path,
    chosen_snapshot,
    read_rows,
)
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.storage.atomic import PARTIAL_MARK, flush, write_json
from data_miner_dagster.storage.layout import StorageLayout

_TELL_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestoreOutcome:
    """The result of a restore."""

    snapshot: Snapshot
    num_files: int  # files written by this call
    num_there: int  # files written by an earlier attempt


def restore_root(
    store: ObjectStore, layout: StorageLayout, *, snapshot_id: str | None = None, num_at_once: int = 8
) -> RestoreOutcome:
    """Write a snapshot into an empty root, or continue an interrupted restore. Verify every file by its hash.

    Args:
        store: the store that contains the snapshot.
        layout: the layout of the root.
        snapshot_id: the snapshot. If it is None, the interrupted restore is continued, or the latest snapshot is used.
        num_at_once: the number of files to download at the same time.

    Raises:
        ConfigError: the folder is not empty, another snapshot is being restored into it, the snapshot does not exist,
            or the snapshot or the record of an earlier attempt cannot be read.
        ObjectError: the backup is incomplete or damaged, or the store refuses a request. Restored files stay, without a
            catalog.
        ObjectTransientError: the store does not answer.
    """
    snapshot = chosen_snapshot(store, _begun(layout) or snapshot_id)
    _check_folder(layout, snapshot, snapshot_id)
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(layout.restoring, {"snapshot": snapshot.id, "from": store.shown})
    layout.restored_parts.mkdir(mode=0o700, exist_ok=True)
    if layout.catalog_file.exists():  # everything was done except the last step
        return _finished(layout, RestoreOutcome(snapshot, 0, snapshot.num_files))
    work = _Work(store, layout)
    table = work.fetched(snapshot.files_sha256, "files.jsonl.gz", "the list of files")
    with ThreadPoolExecutor(num_at_once, "restore") as threads:
        _run_all(
            threads,
            4 * num_at_once,
            ((work.restore, row) for row in read_rows(table, snapshot.id) if work.is_first(row)),
        )
    for row in read_rows(table, snapshot.id):
        work.link(row)
    catalog = work.fetched(snapshot.catalog_sha256, layout.catalog_file.name, "the catalog")
    settle_restored(catalog, old_root=snapshot.root, root=layout.root)
    flush(catalog)
    catalog.replace(layout.catalog_file)
    flush(layout.root)
    return _finished(layout, RestoreOutcome(snapshot, work.num_files, work.num_there))


def _begun(layout: StorageLayout) -> str | None:
    """Return the id of the snapshot that an earlier attempt began to restore, or None if there was no attempt."""
    try:
        return str(json.loads(layout.restoring.read_text(encoding="utf-8"))["snapshot"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{layout.restoring}, the record of an interrupted restore, cannot be read ({error.strerror or error}); "
            "correct its permissions"
        ) from None
    except (ValueError, LookupError, TypeError):
        raise ConfigError(
            f"{layout.restoring}, the record of an interrupted restore, is damaged; remove {layout.root} and restore "
            "again"
        ) from None


def _check_folder(layout: StorageLayout, snapshot: Snapshot, wanted: str | None) -> None:
    if layout.restoring.exists():
        if wanted not in (None, snapshot.id):
            raise ConfigError(
                f"the restore of backup {snapshot.id} into {layout.root} is unfinished; omit `--snapshot` to finish "
                "it, or remove the folder to restore another backup"
            )
        return
    there = [entry.name for entry in layout.root.iterdir()] if layout.root.is_dir() else []
    # Partial files are left by a restore that was killed at its start.
    unfinished = {name for name in there if name.startswith(PARTIAL_MARK)}
    if others := sorted(set(there) - unfinished - {layout.up_lock.name}):
        raise ConfigError(f"{layout.root} is not empty (it contains {others[0]}); restore the backup to a new folder")


def _finished(layout: StorageLayout, outcome: RestoreOutcome) -> RestoreOutcome:
    shutil.rmtree(layout.restored_parts, ignore_errors=True)
    layout.restoring.unlink(missing_ok=True)
    return outcome


def _run_all(threads: ThreadPoolExecutor, most: int, calls: "Iterator[tuple[object, FileRow]]") -> None:
    """Run each function on its row in a thread. At most `most` calls are pending, and an error cancels the rest."""
    at_work: set[Future[None]] = set()
    try:
        for function, row in calls:
            at_work.add(threads.submit(function, row))  # type: ignore[arg-type]
            if len(at_work) >= most:
                done, at_work = wait(at_work, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in at_work:
            future.result()
    finally:
        threads.shutdown(cancel_futures=True)


class _Work:
    """One running restore. Thread-safe, except for `is_first` and `link`."""

    def __init__(self, store: ObjectStore, layout: StorageLayout) -> None:
        self.num_files = 0
        self.num_there = 0
        self._store = store
        self._layout = layout
        self._first_by_link: dict[str, FileRow] = {}
        self._num_bytes = 0
        self._told_at = time.monotonic()
        self._lock = threading.Lock()

    def is_first(self, row: FileRow) -> bool:
        """Return whether no earlier row is a hard link to the same file. Remember the first row for `link`."""
        checked_path(self._layout, row)
        return row.link is None or self._first_by_link.setdefault(row.link, row).path == row.path

    def restore(self, row: FileRow) -> None:
        """Write a file, unless an earlier attempt has written it."""
        path = checked_path(self._layout, row)
        if _is_there(path, row):
            with self._lock:
                self.num_there += 1
            return
        part = self.fetched(row.sha256, hashlib.sha256(row.path.encode()).hexdigest(), row.path)
        self._place(part, path, row)

    def link(self, row: FileRow) -> None:
        """Hard-link a row's path to the file of the row that `is_first` remembered, if that row has another path.

        If the two rows have different contents, restore this row's own content instead.
        """
        first = self._first_by_link.get(row.link) if row.link is not None else None
        if first is None or first.path == row.path:
            return
        path = checked_path(self._layout, row)
        if first.sha256 != row.sha256:
            self.restore(row)  # the file was modified in place during the backup, so the rows differ
            return
        if not _is_there(path, row):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            os.link(checked_path(self._layout, first), path)
            self.num_files += 1

    def fetched(self, sha256: str, name: str, what: str) -> Path:
        """Download the content with the digest `sha256` into the folder of partial files, as `name`. Return its path.

        `what` names the content in the error message.

        Raises:
            ObjectError: the content is missing or has another hash, or the store refuses a request.
            ObjectTransientError: the store does not answer.
        """
        part = self._layout.restored_parts / name
        self._store.download(blob_name(sha256), part)
        if sha256_of_file(part) != sha256:
            part.unlink()
            raise ObjectError(
                f"{self._store.shown}/{blob_name(sha256)} is damaged (its sha256 differs from its name), so {what} "
                "cannot be restored; replace it with an intact copy and run the command again, or remove "
                f"{self._layout.root} and restore a backup that does not contain it, with `--snapshot ID`"
            )
        return part

    def _place(self, part: Path, path: Path, row: FileRow) -> None:
        os.utime(part, ns=(row.mtime_ns, row.mtime_ns))
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        with self._lock:
            self.num_files += 1
            self._num_bytes += row.size_bytes
            if time.monotonic() - self._told_at > _TELL_SECONDS:
                self._told_at = time.monotonic()
                logger.info("restore: wrote %s, %s", counted(self.num_files, "file"), size_text(self._num_bytes))


def _is_there(path: Path, row: FileRow) -> bool:
    """Return whether a file has been restored. Only verified files get their final name and time."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (status.st_size, status.st_mtime_ns) == (row.size_bytes, row.mtime_ns)
