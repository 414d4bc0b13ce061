"""Keep backups and other copies in a folder outside the root, for example on a network disk."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from data_miner_dagster.domain.errors import ObjectError, ObjectForbiddenError, ObjectMissingError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.leftovers import remove_abandoned
from data_miner_dagster.protocols.stores import StoredObject
from data_miner_dagster.storage.atomic import PARTIAL_MARK, atomic_path

_CHUNK_BYTES: Final = 1 << 20
_OURS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PARTIAL_FILES: Final = f"{PARTIAL_MARK}{'[0-9a-f]' * 16}-*"
"""The names of unfinished objects (`partial_name`), as a pattern. Other programs may have files in the folder, too."""


class FolderStore:
    """An `ObjectStore` in a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._swept = set[Path]()

    @property
    def shown(self) -> str:
        """The path of the folder."""
        return str(self._folder)

    def entries(self, prefix: str = "") -> Iterator[StoredObject]:
        """Implement `ObjectStore.entries`. Unfinished files are not listed, and a missing folder contains nothing."""
        start = self._folder / prefix.rpartition("/")[0]
        for parent, folders, files in os.walk(start, onerror=self._raise_unlisted):
            folders[:] = [name for name in folders if not name.startswith(PARTIAL_MARK)]
            for file in files:
                name = Path(parent, file).relative_to(self._folder).as_posix()
                if name.startswith(prefix) and not file.startswith(PARTIAL_MARK) and (found := self.find(name)):
                    yield found

    def find(self, name: str) -> StoredObject | None:
        """Implement `ObjectStore.find`."""
        with self._told(name):
            try:
                status = self._path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return StoredObject(name, status.st_size, f"{status.st_ino} {status.st_mtime_ns}")

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Implement `ObjectStore.read`."""
        with self._told(name):
            size_bytes = self._path(name).stat().st_size
            if size_bytes > max_bytes:
                raise ObjectError(
                    f"{self._path(name)} has {size_bytes} bytes, more than the limit of {max_bytes}; check whether "
                    "the file is the right one"
                )
            return self._path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Implement `ObjectStore.write`."""
        with self._told(name), self._written(name) as partial:
            partial.write_bytes(content)

    def upload(self, path: Path, name: str) -> str:
        """Implement `ObjectStore.upload`. The written data is read back.

        Raises:
            OSError: the file at `path` cannot be opened.
        """
        with path.open("rb") as source, self._told(name), self._written(name) as partial:
            digest = hashlib.sha256()
            _copy(source, partial, digest.update)
            if sha256_of_file(partial) != digest.hexdigest():
                raise ObjectError(
                    f"{self._path(name)} differs from its source, {path}; run the command again, and check the disk if "
                    "this happens again"
                )
            return digest.hexdigest()

    def sha256_of(self, name: str) -> str:
        """Implement `ObjectStore.sha256_of`."""
        with self._told(name):
            return sha256_of_file(self._path(name))

    def download(self, name: str, path: Path) -> StoredObject:
        """Implement `ObjectStore.download`. An interrupted copy starts again from the beginning."""
        found = self.find(name)
        if found is None:
            raise self._missing(name)
        with self._told(name), self._path(name).open("rb") as source:
            _copy(source, path)
        return found

    def remove(self, name: str) -> None:
        """Implement `ObjectStore.remove`."""
        with self._told(name):
            self._path(name).unlink(missing_ok=True)

    @contextmanager
    def _written(self, name: str) -> Iterator[Path]:
        """Yield the path of a temporary file to write, which becomes the object. Leftovers beside it are removed."""
        path = self._path(name)
        if path.parent not in self._swept:
            self._swept.add(path.parent)
            remove_abandoned(path.parent.glob(_PARTIAL_FILES))
        with atomic_path(path) as partial:
            yield partial

    def _path(self, name: str) -> Path:
        path = self._folder / name
        if ".." in Path(name).parts or not path.is_relative_to(self._folder):
            raise ObjectError(f"{name!r} leads outside {self._folder}; use a name inside this folder")
        return path

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise self._missing(name) from None
        except PermissionError as error:
            raise ObjectForbiddenError(
                f"{self._path(name)} cannot be read or written ({error.strerror}); check its permissions"
            ) from error
        except OSError as error:
            if error.errno in _OURS:
                raise ObjectError(
                    f"{self._path(name)} cannot be written ({error.strerror}); free some space there, then run the "
                    "command again"
                ) from error
            raise

    def _raise_unlisted(self, error: OSError) -> None:
        """Raise an error about a folder that cannot be listed, unless it is missing or is a file in the store."""
        path = Path(error.filename)
        if isinstance(error, FileNotFoundError) or (isinstance(error, NotADirectoryError) and path != self._folder):
            return
        raise ObjectError(
            f"the folder {path} cannot be listed ({error.strerror}); check the path, its permissions and the disk, and "
            "run the command again"
        ) from error

    def _missing(self, name: str) -> ObjectMissingError:
        return ObjectMissingError(
            f"the file {self._path(name)} does not exist; check that {self._folder} is the right folder and is complete"
        )


def _copy(source: BinaryIO, target: Path, seen: Callable[[bytes], object] | None = None) -> None:
    with target.open("wb") as writer:
        while chunk := source.read(_CHUNK_BYTES):
            writer.write(chunk)
            if seen is not None:
                seen(chunk)
        writer.flush()
        os.fsync(writer.fileno())
