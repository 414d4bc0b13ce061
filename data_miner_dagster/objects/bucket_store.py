"""Read and write the objects below an address in a bucket, with limits, retries, resumption and verification."""

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from data_miner_dagster.domain.backoff import backoff_seconds
from data_miner_dagster.domain.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectMissingError,
    ObjectTransientError,
)
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.domain.object_urls import ObjectUrl
from data_miner_dagster.objects.access import Access, Patience, open_file_system
from data_miner_dagster.objects.drivers import FileSystemDriver, S3Driver
from data_miner_dagster.objects.errors import translated
from data_miner_dagster.protocols.stores import StoredObject

_PART_BYTES: Final = 16 << 20
"""The size of one part of an upload. S3 allows 10,000 parts per object, so an object may have up to 167 GB."""
_RANGE_BYTES: Final = 8 << 20
"""The most bytes that a download requests at once, and therefore the most that a broken connection can lose."""
_LONGEST_DELAY: Final = 30.0
_CHANGES_BORNE: Final = 3
_ORIGIN_SUFFIX: Final = ".origin"
"""The suffix of the file that records, during a download, which object the bytes come from."""

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)


class BucketStore:
    """An `ObjectStore` in a bucket. It sends no request before it is first used.

    Raises:
        ConfigError: the package for the protocol is missing, or the settings for access do not fit the protocol.
    """

    def __init__(
        self, url: ObjectUrl, access: Access, patience: Patience, *, check: Callable[[], None] = lambda: None
    ) -> None:
        self._url = url
        self._patience = patience
        self._check = check  # called before each request; raises if the caller has to stop
        self._fs = open_file_system(url.protocol, access, patience)
        self._driver = (S3Driver if url.protocol == "s3" else FileSystemDriver)(self._fs, url.bucket)

    @property
    def shown(self) -> str:
        """The address of the store."""
        return self._url.text

    def entries(self, prefix: str = "") -> Iterator[StoredObject]:
        """Implement `ObjectStore.entries`. After a transient failure, only the failed page is requested again."""
        base = f"{self._url.path}/" if self._url.path else ""
        mark: str | None = ""
        while mark is not None:
            page, mark = self._ask(prefix, partial(self._driver.page, f"{base}{prefix}", mark))
            for entry in page:
                yield StoredObject(entry.name.removeprefix(base), entry.size_bytes, entry.identity, entry.md5)

    def find(self, name: str) -> StoredObject | None:
        """Implement `ObjectStore.find`. An empty name means the object at the store's own address."""
        found = self._ask(name, partial(self._driver.head, self._path(name)))
        return found and StoredObject(name, found.size_bytes, found.identity, found.md5)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """Implement `ObjectStore.read`."""
        found = self._existing(name)
        if found.size_bytes > max_bytes:
            raise ObjectError(
                f"{self._shown(name)} has {found.size_bytes} bytes, more than the limit of {max_bytes}; check whether "
                "it is the right object"
            )
        return self._range(name, 0, found.size_bytes) if found.size_bytes else b""

    def write(self, name: str, content: bytes) -> None:
        """Implement `ObjectStore.write`."""
        path = self._path(name)
        if self._ask(name, partial(self._driver.put, path, content), num_bytes=len(content)):
            return
        if self.read(name, max_bytes=len(content)) != content:
            raise self._differs(name)

    def upload(self, path: Path, name: str) -> str:
        """Implement `ObjectStore.upload`.

        If the server does not confirm the hash, the object is read back, and removed if it differs from the file.
        """
        size_bytes = path.stat().st_size
        digest = hashlib.sha256()
        if size_bytes <= _PART_BYTES:
            content = path.read_bytes()
            digest.update(content)
            is_confirmed = self._ask(name, partial(self._driver.put, self._path(name), content), len(content))
        elif isinstance(self._driver, S3Driver):
            is_confirmed = self._upload_parts(self._driver, path, name, digest.update)
        else:
            with path.open("rb") as file:
                while chunk := file.read(_RANGE_BYTES):
                    digest.update(chunk)
            self._ask(name, partial(self._driver.put_file, path, self._path(name)), size_bytes)
            is_confirmed = False
        if not is_confirmed and self.sha256_of(name) != digest.hexdigest():
            self.remove(name)
            raise self._differs(name)
        return digest.hexdigest()

    def _upload_parts(self, driver: S3Driver, path: Path, name: str, seen: Callable[[bytes], None]) -> bool:
        whole = self._path(name)
        upload = self._ask(name, partial(driver.begin_parts, whole))
        tags, are_confirmed = list[str](), True
        try:
            with path.open("rb") as file:
                while content := file.read(_PART_BYTES):
                    seen(content)
                    put = partial(driver.put_part, whole, upload, len(tags) + 1, content)
                    tag, is_confirmed = self._ask(name, put, len(content))
                    tags.append(tag)
                    are_confirmed = are_confirmed and is_confirmed
            self._ask(name, partial(driver.complete_parts, whole, upload, tags))
        except BaseException:
            self._abort(driver, name, upload)
            raise
        return are_confirmed

    def _abort(self, driver: S3Driver, name: str, upload: str) -> None:
        try:
            self._ask(name, partial(driver.abort_parts, self._path(name), upload))
        except (ObjectError, ObjectTransientError) as error:
            logger.warning(
                "The interrupted upload of %s cannot be aborted (%s), so its parts may remain until the bucket's "
                "lifecycle rules remove them",
                self._shown(name),
                error,
            )

    def sha256_of(self, name: str) -> str:
        """Implement `ObjectStore.sha256_of`."""
        digest, start, size_bytes = hashlib.sha256(), 0, self._existing(name).size_bytes
        while start < size_bytes:
            content = self._range(name, start, min(start + _RANGE_BYTES, size_bytes))
            digest.update(content)
            start += len(content)
        return digest.hexdigest()

    def download(self, name: str, path: Path) -> StoredObject:
        """Implement `ObjectStore.download`."""
        origin = path.with_name(path.name + _ORIGIN_SUFFIX)
        for _ in range(_CHANGES_BORNE):
            found = self._existing(name)
            known = {"object": self._shown(name), "identity": found.identity, "size_bytes": found.size_bytes}
            start = path.stat().st_size if _is_of(origin, known) and path.is_file() else 0
            if start == 0 or start > found.size_bytes:
                start = 0
                path.unlink(missing_ok=True)
                origin.write_text(json.dumps(known), encoding="utf-8")
            try:
                self._append(name, path, start, found.size_bytes)
            except (ObjectError, ObjectTransientError):
                if (now := self.find(name)) is not None and now.identity == found.identity:
                    raise
            after = self._existing(name)
            if after.identity == found.identity:
                origin.unlink(missing_ok=True)
                return found
            logger.info("%s was replaced during the download; downloading it again", self._shown(name))
        raise ObjectChangedError(
            f"{self._shown(name)} was replaced {_CHANGES_BORNE} times during the download; try again once it no longer "
            "changes"
        )

    def _append(self, name: str, path: Path, start: int, stop: int) -> None:
        with path.open("ab") as file:
            while start < stop:
                self._check()
                content = self._range(name, start, min(start + _RANGE_BYTES, stop))
                file.write(content)
                file.flush()
                start += len(content)
            os.fsync(file.fileno())

    def remove(self, name: str) -> None:
        """Implement `ObjectStore.remove`."""
        self._ask(name, partial(self._driver.remove, self._path(name)))

    # --- requests ---

    def _range(self, name: str, start: int, stop: int) -> bytes:
        async def get() -> bytes:
            content = await self._driver.get(self._path(name), start, stop)
            if len(content) != stop - start:  # cut off without the client noticing
                raise ConnectionError(f"{len(content)} bytes arrived, but {stop - start} were requested")
            return content

        content = self._ask(name, get, stop - start)
        note(Measured(bytes_received=len(content)))
        return content

    def _existing(self, name: str) -> StoredObject:
        found = self.find(name)
        if found is None:
            raise ObjectMissingError(f"the object {self._shown(name)} does not exist; check the address")
        return found

    def _ask(self, name: str, ask: Callable[[], Awaitable[_Answer]], num_bytes: int = 0) -> _Answer:
        """Return the response to the request that `ask` sends. The request is retried after transient failures.

        Raises:
            ConfigError: the credentials that the bucket requires are missing, incomplete or not accepted.
            ObjectError: the bucket refuses the request, or the object or bucket does not exist.
            ObjectTransientError: every attempt failed.
        """
        from fsspec.asyn import sync

        async def within_limit() -> _Answer:
            async with asyncio.timeout(self._patience.limit_seconds(num_bytes)):
                return await ask()

        num_tries = 0
        while True:
            num_tries += 1
            self._check()
            note(Measured(num_requests=1))
            try:
                answer: _Answer = sync(self._fs.loop, within_limit)
                return answer
            except Exception as error:
                meant = translated(error, self._shown(name))
                if meant is None:
                    raise
                if num_tries >= self._patience.tries or not isinstance(meant, ObjectTransientError):
                    raise meant from error
            delay = backoff_seconds(
                num_tries, first_seconds=self._patience.try_delay_seconds, longest_seconds=_LONGEST_DELAY
            )
            logger.info(
                "Attempt %d of %d failed; retrying in %.1f s (%s)", num_tries, self._patience.tries, delay, meant
            )
            time.sleep(delay)

    def _differs(self, name: str) -> ObjectError:
        return ObjectError(f"the object {self._shown(name)} differs from the data sent; run the command again")

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._url.path, name) if part)

    def _shown(self, name: str) -> str:
        return f"{self._url.protocol}://{self._url.bucket}/{self._path(name)}"


def _is_of(origin: Path, known: dict[str, object]) -> bool:
    try:
        return bool(json.loads(origin.read_text(encoding="utf-8")) == known)
    except (OSError, ValueError):
        return False
