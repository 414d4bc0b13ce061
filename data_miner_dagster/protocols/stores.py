"""The interface of an object store outside the root: a bucket or a folder, for copies or for source videos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in a store. `identity` changes whenever the object's content is replaced. `md5` is None if unknown."""

    name: str  # relative to the store
    size_bytes: int
    identity: str
    md5: str | None = None


class ObjectStore(Protocol):
    """A thread-safe store of objects by name, below one address.

    An object appears completely or not at all. Every method retries transient failures. A method that fails raises
    ObjectMissingError, ObjectForbiddenError, ObjectError or ObjectTransientError from `domain/errors.py`, with a
    message that names the object. If a local file (`path`) cannot be read or written, `upload` and `download` may also
    raise OSError.
    """

    @property
    def shown(self) -> str:
        """The address of the store, for messages."""
        ...

    def entries(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose names begin with `prefix`, fetched page by page, in no particular order."""
        ...

    def find(self, name: str) -> StoredObject | None:
        """Return the entry of an object, or None if the object does not exist."""
        ...

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Return the content of a small object.

        Raises:
            ObjectError: the object is larger than `max_bytes`.
        """
        ...

    def write(self, name: str, content: bytes) -> None:
        """Store `content` as a small object, and verify the object."""
        ...

    def upload(self, path: Path, name: str) -> str:
        """Store a file under `name`, and verify the object by its hash. Return the sha256 of the file."""
        ...

    def sha256_of(self, name: str) -> str:
        """Return the sha256 of an object, reading all of it."""
        ...

    def download(self, name: str, path: Path) -> StoredObject:
        """Download an object to the file `path`, resuming after any bytes that an earlier call wrote.

        If the object is replaced during the download, it is read from the start again.

        Returns:
            The entry of the object whose content the file now holds.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove an object, if it exists."""
        ...
