"""Assign keys to local files and folders. Content that is already in the root keeps its key.

A key identifies the content: a copy under another name is the same video. Roots from earlier versions keep their keys,
which contain no name.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from data_miner_dagster.catalog.forgotten import forgotten_subjects
from data_miner_dagster.catalog.videos import keys_with_prefix
from data_miner_dagster.domain.keys import FILE_PREFIX, FRAMES_PREFIX, digest_of_key, forgotten_subject
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.local_files import key_of_file, key_of_frames

_MIN_DIGEST: int = 16
"""The number of hex digits of the content's sha256 in the key of a file or folder."""


class LocalKeys:
    """The keys of a root's local files and folders. The methods are thread-safe."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[str, str] | None = None
        self._forgotten: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def key_of_file(self, path: Path, sha256_of: Callable[[Path], str]) -> str:
        """Return the key of a video file. An unreadable file gets a key from its path."""
        return self._kept(*key_of_file(path, sha256_of), FILE_PREFIX)

    def key_of_frames(self, paths: Sequence[Path], sha256_of: Callable[[Path], str]) -> str:
        """Return the key of a folder of pictures. `paths` are the pictures in order.

        Raises:
            OSError: a picture cannot be read.
        """
        return self._kept(*key_of_frames(paths, sha256_of), FRAMES_PREFIX)

    def _kept(self, key: str, sha256: str | None, prefix: str) -> str:
        if sha256 is None:
            return key
        with self._lock:
            if self._known is None:
                self._known = {f"{name.partition('-')[0]}-{digest}": name for name, digest in self._present()}
                self._forgotten = forgotten_subjects(self._platform.database)
            earlier = f"{prefix}{sha256[:32]}"  # its key in versions up to 0.3
            if forgotten_subject("video", earlier) in self._forgotten:
                key = earlier  # with this key the video stays forgotten
            return self._known.setdefault(f"{prefix}{sha256[:_MIN_DIGEST]}", key)

    def _present(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the first digits of the sha256 of each local video in the root's files and catalog."""
        names: list[str] = []
        with suppress(FileNotFoundError):  # files first, since a new catalog does not know them yet
            names += sorted(entry.name for entry in os.scandir(self._platform.layout.videos))
        for prefix in (FILE_PREFIX, FRAMES_PREFIX):
            names += keys_with_prefix(self._platform.database, prefix)
        for name in names:
            if (digest := digest_of_key(name)) is not None:
                yield name, digest[:_MIN_DIGEST]
