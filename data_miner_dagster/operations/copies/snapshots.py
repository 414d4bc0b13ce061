"""Define the format of a backup: its objects, and the records in them.

A store of backups contains any number of snapshots of one root:

- `files/<two digits>/<sha256>`: the content of a file, stored once for all files, releases and snapshots that share it;
- `snapshots/<id>.json`: a snapshot, written last. It names the catalog and the table of files, both by sha256.

The table of files is gzipped JSON lines, one per file, in the order of `sort_key`.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from data_miner_dagster.domain.errors import ConfigError, ObjectError
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.storage.layout import StorageLayout

FORMAT: Final = 1
FILES_PREFIX: Final = "files/"
SNAPSHOTS_PREFIX: Final = "snapshots/"
_SUFFIX: Final = ".json"
_MAX_BYTES: Final = 1 << 20
_DIGEST_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One backup of a root."""

    format: int
    id: str  # sorts by time
    made_at: str  # ISO 8601, in UTC
    version: str  # the version of this package
    root: str  # the path of the root
    catalog_sha256: str
    files_sha256: str
    num_files: int
    num_bytes: int  # the total size of the files, although equal contents are stored only once
    num_gone: int  # units that are not in the backup, because they disappeared or kept changing during it


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of a snapshot."""

    path: str  # relative to the root, with "/"
    size_bytes: int
    mtime_ns: int
    inode: int
    sha256: str
    link: str | None  # rows of a snapshot with the same value are hard links to one file; None if it has no other links


def blob_name(sha256: str) -> str:
    """Return the name of the object that stores the content of a file."""
    return f"{FILES_PREFIX}{sha256[:2]}/{sha256}"


def sha256_of_blob(name: str) -> str | None:
    """Return the sha256 in the name of an object that stores a file's content, or None for any other name."""
    digest = name.rpartition("/")[2]
    return digest if len(digest) == _DIGEST_LENGTH and blob_name(digest) == name else None


def snapshot_name(snapshot_id: str) -> str:
    """Return the name of the object that stores a snapshot."""
    return f"{SNAPSHOTS_PREFIX}{snapshot_id}{_SUFFIX}"


def write_snapshot(store: ObjectStore, snapshot: Snapshot) -> None:
    """Complete a snapshot by writing its record. All contents that it names must already be stored."""
    content = json.dumps(as_json(snapshot), indent=2, sort_keys=True) + "\n"
    store.write(snapshot_name(snapshot.id), content.encode())


class DamagedSnapshotError(ConfigError):
    """The record of a snapshot is not valid. Other snapshots stay usable."""


def read_snapshots(store: ObjectStore, unread: list[str] | None = None) -> list[Snapshot]:
    """Return the snapshots in a store, oldest first.

    If `unread` is given, damaged snapshots are passed over, and a line about each is added to it.

    Raises:
        ConfigError: a snapshot is damaged, or was made by a newer version of this package.
        ObjectError, ObjectTransientError: the store refuses a request, or does not answer.
    """
    found = []
    for name in _names_of_snapshots(store):
        try:
            found.append(_read_snapshot(store, name))
        except DamagedSnapshotError as error:
            if unread is None:
                raise
            unread.append(str(error))
    return found


def _names_of_snapshots(store: ObjectStore) -> list[str]:
    return sorted(entry.name for entry in store.entries(SNAPSHOTS_PREFIX) if entry.name.endswith(_SUFFIX))


def _read_snapshot(store: ObjectStore, name: str) -> Snapshot:
    try:
        content = json.loads(store.read(name, max_bytes=_MAX_BYTES))
        if isinstance(content, dict) and content.get("format", 0) > FORMAT:
            raise ConfigError(
                f"{store.shown}/{name} was written by a newer version of data-miner-dagster; upgrade this package"
            )
        return from_json(Snapshot, content)
    except ValueError as error:
        raise DamagedSnapshotError(
            f"{store.shown}/{name} is not a valid snapshot ({str(error).splitlines()[0]}); remove that file"
        ) from None


def chosen_snapshot(store: ObjectStore, snapshot_id: str | None) -> Snapshot:
    """Return the snapshot with the given id, or the latest one if the id is None. No other one is read.

    Raises:
        ConfigError: the snapshot does not exist or cannot be read.
        ObjectError, ObjectTransientError: the store refuses a request, or does not answer.
    """
    names = _names_of_snapshots(store)
    if not names:
        raise ConfigError(
            f"{store.shown} has no complete backup; check the address, or make a backup with `data-miner backup --to "
            f"{store.shown}`"
        )
    if snapshot_id is None:
        return _read_snapshot(store, names[-1])
    if snapshot_name(snapshot_id) in names:
        return _read_snapshot(store, snapshot_name(snapshot_id))
    raise ConfigError(
        f"{store.shown} has no backup {snapshot_id!r}; `data-miner backups --at {store.shown}` lists its backups"
    )


# --- tables of files ---


def sort_key(path: str) -> tuple[str, ...]:
    """Return the sort key of a row's path. It sorts rows in the order in which folders are walked."""
    return tuple(path.split("/"))


@contextmanager
def writing_rows(file: Path) -> "Iterator[_RowWriter]":
    """Yield a writer for a table of files. The same rows give the same bytes."""
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        yield _RowWriter(packed)


class _RowWriter:
    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed
        self.num_files = 0
        self.num_bytes = 0

    def add(self, rows: Iterable[FileRow]) -> None:
        """Append rows. The rows of all calls together must be in the order of `sort_key`."""
        for row in rows:
            line = [row.path, row.size_bytes, row.mtime_ns, row.inode, row.sha256, row.link]
            self._packed.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self.num_files += 1
            self.num_bytes += row.size_bytes


def read_rows(file: Path, snapshot_id: str) -> Iterator[FileRow]:
    """Yield the rows of the table of files that belongs to a snapshot.

    Raises:
        ObjectError: the table is damaged.
    """
    try:
        with gzip.open(file, "rb") as lines:
            for line in lines:
                path, size_bytes, mtime_ns, inode, sha256, link = json.loads(line)
                yield FileRow(str(path), int(size_bytes), int(mtime_ns), int(inode), str(sha256), link)
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise ObjectError(
            f"the list of files in backup {snapshot_id} cannot be read ({error}); remove {snapshot_name(snapshot_id)} "
            "from the folder or bucket of the backups; the other backups stay usable"
        ) from error


def checked_path(layout: StorageLayout, row: FileRow) -> Path:
    """Return the path of a row's file under a root, after checking that the row is valid.

    Raises:
        ObjectError: the path or the sha256 is not one that a backup writes, so the table of files was modified.
    """
    parts = PurePosixPath(row.path).parts
    path = layout.root.joinpath(*parts)
    is_kept = any(path == kept or path.is_relative_to(kept) for kept, _ in layout.kept_in_backups())
    if not is_kept or ".." in parts or "\x00" in row.path or "/".join(parts) != row.path:
        raise ObjectError(f"the backup contains the path {row.path!r}, which is not allowed; use another backup")
    if len(row.sha256) != _DIGEST_LENGTH or not set(row.sha256) <= set("0123456789abcdef"):
        raise ObjectError(
            f"the backup lists {row.sha256!r} for {row.path}, but this is not a valid sha256; use another backup"
        )
    return path
