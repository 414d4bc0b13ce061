"""Cached hashes of local source files, which are reused while a file's size and modification time are unchanged."""

import json
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.storage.atomic import atomic_path

_SETTLED_SECONDS: Final = 2.0
"""A file that changed within this time is not cached, because another change might leave its size and time unchanged.

Source: git, Documentation/technical/racy-git.txt.
"""
_VERSION: Final = 1


class FileHashes:
    """A cache of sha256 digests by path, stored in one file. Thread-safe.

    If the stored file is damaged or missing, the cache starts empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._seen: dict[str, tuple[int, int, str]] = {}
        self._lock = threading.Lock()

    def sha256_of(self, path: Path) -> str:
        """Return a file's sha256. A cached file is not read if its size and modification time are unchanged.

        Raises:
            OSError: the file cannot be read.
        """
        status = path.stat()
        identity = (status.st_size, status.st_mtime_ns)
        known = self._known.get(str(path))
        if known is not None and known[:2] == identity:
            sha256 = known[2]
        else:
            sha256 = sha256_of_file(path)
            if time.time() - status.st_mtime < _SETTLED_SECONDS:
                return sha256
        with self._lock:
            self._seen[str(path)] = (*identity, sha256)
        return sha256

    def drop(self, sha256_prefixes: Collection[str]) -> None:
        """Forget the files whose sha256 begins with one of `sha256_prefixes`, so `save` does not store their names.

        The files are read again on every listing.
        """
        with self._lock:
            self._seen = {
                path: known for path, known in self._seen.items() if not known[2].startswith(tuple(sha256_prefixes))
            }

    def save(self) -> None:
        """Store the hashes that were requested from this object and may be cached, and forget all others.

        Nothing is written if nothing has changed.
        """
        if self._seen == self._known:
            return
        content = {"version": _VERSION, "files": {path: self._seen[path] for path in sorted(self._seen)}}
        with atomic_path(self._path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
        self._known = dict(self._seen)


def _read(path: Path) -> dict[str, tuple[int, int, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            return {}
        return {
            str(name): (int(size), int(when), str(sha256)) for name, (size, when, sha256) in content["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
