"""Remove old backups from a store. The content of a file is removed only if no remaining snapshot needs it."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.catalog.claims import check_claim, hold_claim
from data_miner_dagster.catalog.outside_copies import remove_backups
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.copies.backup import BACKUP_CLAIM
from data_miner_dagster.operations.copies.snapshots import (
    FILES_PREFIX,
    Snapshot,
    blob_name,
    read_rows,
    read_snapshots,
    sha256_of_blob,
    snapshot_name,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.stores import ObjectStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionOutcome:
    """The removed snapshots, and the number and size of the removed contents. In a dry run, they still exist."""

    snapshots: tuple[Snapshot, ...]
    num_files: int
    num_bytes: int


def keep_latest(platform: Platform, store: ObjectStore, num_kept: int, *, dry_run: bool = False) -> RetentionOutcome:
    """Remove all snapshots except the latest `num_kept`, and all file contents that no remaining snapshot needs.

    Snapshots are removed first, then contents. If the process is killed in between, the next call removes the rest. A
    store must belong to a single root, because this call would remove contents that another root's backup is sending.
    In a dry run, nothing is removed.

    Raises:
        ConfigError: `num_kept` is less than 1, or a snapshot cannot be read or was made by a newer version of this
            package.
        ClaimHeldError: a backup of this root, or another removal of its backups, is running.
        ClaimLostError: another process has taken over the claim on the backups.
        ObjectError: the store refuses a request, or a remaining snapshot's list of files is missing or damaged.
        ObjectTransientError: the store does not answer.
    """
    if num_kept < 1:
        raise ConfigError(
            f"`--keep` must be at least 1, not {num_kept}; to keep no backup, delete {store.shown} itself"
        )
    with hold_claim(platform.database, BACKUP_CLAIM, wait_seconds=0) as claim:
        found = read_snapshots(store)
        gone, kept = found[:-num_kept], found[-num_kept:]
        named = _contents_of(store, kept)
        if not dry_run:
            for snapshot in gone:
                store.remove(snapshot_name(snapshot.id))
            remove_backups(platform.database, store.shown, [snapshot.id for snapshot in gone])
        num_files = num_bytes = 0
        for entry in list(store.entries(FILES_PREFIX)):
            digest = sha256_of_blob(entry.name)
            if digest is None or bytes.fromhex(digest) in named:
                continue
            num_files, num_bytes = num_files + 1, num_bytes + entry.size_bytes
            if not dry_run:
                check_claim(platform.database, claim)
                store.remove(entry.name)
    return RetentionOutcome(tuple(gone), num_files, num_bytes)


def _contents_of(store: ObjectStore, snapshots: Sequence[Snapshot]) -> set[bytes]:
    """Return the sha256 digests of all contents that `snapshots` name."""
    named: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        for snapshot in snapshots:
            named |= {bytes.fromhex(snapshot.catalog_sha256), bytes.fromhex(snapshot.files_sha256)}
            table = Path(folder, snapshot.id)
            store.download(blob_name(snapshot.files_sha256), table)
            named.update(bytes.fromhex(row.sha256) for row in read_rows(table, snapshot.id))
            table.unlink()
    return named
