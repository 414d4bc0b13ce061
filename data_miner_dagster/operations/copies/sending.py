"""Send many files to an empty address, or remove all files from an address.

If the process is killed, sending can be resumed. The last file marks the copy as complete.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError, ObjectError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.protocols.stores import ObjectStore, StoredObject

UNFINISHED: Final = "UNFINISHED.json"
"""The name of an object that exists while a copy is incomplete. It contains a fingerprint of all files of the copy."""
_MAX_BYTES: Final = 1 << 16
_CHUNK_BYTES: Final = 1 << 20
_TELL_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SentFiles:
    """The files and bytes that were sent, or would be sent in a dry run, and the files that the address already had."""

    num_files: int
    num_bytes: int
    num_there: int  # files of the same copy that the address already had


def send_files(
    store: ObjectStore, files: Mapping[str, Path], *, last: str, num_at_once: int = 8, dry_run: bool = False
) -> SentFiles:
    """Store files under their names, each verified by its hash. The file named `last` is sent after all others.

    Files of the same copy that already exist are not sent again, whether the copy was interrupted or complete. Sending
    the same files a second time therefore changes nothing. In a dry run, nothing is sent.

    Raises:
        ConfigError: the address is not empty, and its files are neither an interrupted nor a complete copy of `files`.
        ObjectError, ObjectTransientError: the store refuses a request, or does not answer.
    """
    there = {entry.name: entry for entry in store.entries()}
    mark = json.dumps({"files": _fingerprint(files)}, sort_keys=True).encode()
    is_begun = there.pop(UNFINISHED, None) is not None and store.read(UNFINISHED, max_bytes=_MAX_BYTES) == mark
    others = sorted(there.keys() - files.keys())
    same = {name for name, entry in there.items() if name in files and _is_same(store, entry, files[name])}
    if not is_begun and there and (others or same != files.keys()):
        name = (others or sorted(there.keys() - same) or sorted(there))[0]
        raise ConfigError(f"{store.shown} is not empty (it contains {name}); choose an address where nothing is stored")
    missing = [name for name in files if name not in same and name != last]
    sent = SentFiles(
        len(files) - len(same),
        sum(path.stat().st_size for name, path in files.items() if name not in same),
        len(same),
    )
    if dry_run:
        return sent
    if len(same) < len(files) and not is_begun:
        store.write(UNFINISHED, mark)
    progress = _Progress(len(missing))
    with ThreadPoolExecutor(num_at_once, "sending") as threads:
        try:
            for _ in threads.map(partial(_send, store, files, progress), missing):
                pass
        finally:
            threads.shutdown(cancel_futures=True)
    if last not in same:
        store.upload(files[last], last)
    store.remove(UNFINISHED)
    return sent


def _send(store: ObjectStore, files: Mapping[str, Path], progress: "_Progress", name: str) -> None:
    size_bytes = files[name].stat().st_size
    store.upload(files[name], name)
    progress.note(size_bytes)


class _Progress:
    def __init__(self, num_files: int) -> None:
        self._num_files = num_files
        self._num_done = 0
        self._num_bytes = 0
        self._told_at = time.monotonic()
        self._lock = threading.Lock()

    def note(self, size_bytes: int) -> None:
        """Count a file that was sent, and log the progress from time to time."""
        with self._lock:
            self._num_done += 1
            self._num_bytes += size_bytes
            if time.monotonic() - self._told_at > _TELL_SECONDS:
                self._told_at = time.monotonic()
                done, size = f"{self._num_done} of {self._num_files}", size_text(self._num_bytes)
                logger.info("sent %s files, %s", done, size)


def remove_files(store: ObjectStore, *, first: str) -> int:
    """Remove everything at an address. Return the number of objects removed.

    Args:
        store: the store at the address.
        first: the name of the file to remove first, which marks the copy as complete.

    Raises:
        ObjectError: an object still exists afterwards, or the store refuses a request.
        ObjectTransientError: the store does not answer.
    """
    names = [entry.name for entry in store.entries()]
    for name in sorted(names, key=lambda name: (name != first, name)):
        store.remove(name)
    if left := next(iter(store.entries()), None):
        raise ObjectError(f"{store.shown}/{left.name} still exists; run the same command again")
    return len(names)


def _fingerprint(files: Mapping[str, Path]) -> str:
    return fingerprint_of({name: sha256_of_file(path) for name, path in files.items()})


def _is_same(store: ObjectStore, entry: StoredObject, path: Path) -> bool:
    if entry.size_bytes != path.stat().st_size:
        return False
    if entry.md5 is not None:
        return entry.md5 == _md5_of_file(path)
    return store.sha256_of(entry.name) == sha256_of_file(path)


def _md5_of_file(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
