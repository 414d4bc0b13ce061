"""Send requests to a bucket as coroutines: S3's own calls for S3, and fsspec's calls for other protocols.

Exceptions of a client pass through unchanged. bucket_store.py retries requests, and errors.py translates exceptions.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from data_miner_dagster.protocols.stores import StoredObject

if TYPE_CHECKING:
    from fsspec.asyn import AsyncFileSystem

_A_PAGE: Final = 1000

Mark = str | None
"""The position at which a listing continues: "" before the first page, and None after the last one."""


class Driver(Protocol):
    """The requests to one bucket. Names are complete paths within the bucket."""

    async def page(self, prefix: str, mark: Mark) -> tuple[list[StoredObject], Mark]:
        """Return one page of the objects whose names begin with a prefix, and the mark of the next page.

        Args:
            prefix: the start of the names.
            mark: the mark returned with the previous page, or "" for the first page.

        Returns:
            The objects, and the mark of the next page. The mark is None after the last page.
        """
        ...

    async def head(self, name: str) -> StoredObject | None:
        """Return the entry for an object, or None if the object does not exist."""
        ...

    async def get(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of an object from `start` up to but not including `stop`."""
        ...

    async def put(self, name: str, content: bytes) -> bool:
        """Store a whole object, and return whether the server has confirmed its hash."""
        ...

    async def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        ...


class S3Driver:
    """A driver that uses S3's own calls through s3fs."""

    def __init__(self, fs: "AsyncFileSystem", bucket: str) -> None:
        self._call: Any = fs._call_s3  # noqa: SLF001 - s3fs documents `call_s3`, its counterpart for other threads
        self._bucket = bucket

    async def page(self, prefix: str, mark: Mark) -> tuple[list[StoredObject], Mark]:
        """Implement `Driver.page`. S3 lists a thousand objects at a time."""
        more = {"ContinuationToken": mark} if mark else {}
        found = await self._call("list_objects_v2", Bucket=self._bucket, Prefix=prefix, MaxKeys=_A_PAGE, **more)
        entries = [
            _stored(entry["Key"], entry["Size"], entry)
            for entry in found.get("Contents", ())
            if not entry["Key"].endswith("/")  # a console's placeholder for a folder
        ]
        return entries, found["NextContinuationToken"] if found.get("IsTruncated") else None

    async def head(self, name: str) -> StoredObject | None:
        """Implement `Driver.head`."""
        try:
            found = await self._call("head_object", Bucket=self._bucket, Key=name)
        except FileNotFoundError:
            return None
        return _stored(name, found["ContentLength"], found)

    async def get(self, name: str, start: int, stop: int) -> bytes:
        """Implement `Driver.get`."""
        found = await self._call("get_object", Bucket=self._bucket, Key=name, Range=f"bytes={start}-{stop - 1}")
        async with found["Body"] as body:
            content: bytes = await body.read()
            return content

    async def put(self, name: str, content: bytes) -> bool:
        """Implement `Driver.put`. A one-part object's tag is its md5, unless the object is encrypted."""
        stored = await self._call("put_object", Bucket=self._bucket, Key=name, Body=content)
        return _tag(stored) == _md5(content)

    async def begin_parts(self, name: str) -> str:
        """Start an upload in parts, and return its id. The object appears once the upload is completed."""
        begun = await self._call("create_multipart_upload", Bucket=self._bucket, Key=name)
        return str(begun["UploadId"])

    async def put_part(self, name: str, upload: str, number: int, content: bytes) -> tuple[str, bool]:
        """Store part `number`, counting from 1. Return its tag, and whether the tag is the md5 of the sent bytes."""
        stored = await self._call(
            "upload_part", Bucket=self._bucket, Key=name, UploadId=upload, PartNumber=number, Body=content
        )
        return str(stored["ETag"]), _tag(stored) == _md5(content)

    async def complete_parts(self, name: str, upload: str, tags: list[str]) -> None:
        """Assemble an object from its parts."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        await self._call(
            "complete_multipart_upload",
            Bucket=self._bucket,
            Key=name,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )

    async def abort_parts(self, name: str, upload: str) -> None:
        """Abort an upload in parts, and delete the parts, which would otherwise incur costs."""
        await self._call("abort_multipart_upload", Bucket=self._bucket, Key=name, UploadId=upload)

    async def remove(self, name: str) -> None:
        """Implement `Driver.remove`."""
        await self._call("delete_object", Bucket=self._bucket, Key=name)


class FileSystemDriver:
    """A driver that uses the calls shared by fsspec's asynchronous file systems, for Google and Azure."""

    def __init__(self, fs: "AsyncFileSystem", bucket: str) -> None:
        self._fs: Any = fs
        self._bucket = bucket

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{name}" if name else self._bucket

    async def page(self, prefix: str, mark: Mark) -> tuple[list[StoredObject], Mark]:
        """Implement `Driver.page`. Each page lists one folder, and the mark contains the remaining folders."""
        folders = json.loads(mark) if mark else [prefix.rpartition("/")[0]]
        try:
            entries = await self._fs._ls(self._path(folders.pop()), detail=True)  # noqa: SLF001 - to be overridden in fsspec
        except FileNotFoundError:
            if not await self._fs._exists(self._bucket):  # noqa: SLF001
                raise
            entries = []
        named = [(str(entry["name"]).removeprefix(f"{self._bucket}/").rstrip("/"), entry) for entry in entries]
        folders += [
            name
            for name, entry in named
            if entry["type"] == "directory" and (f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"))
        ]
        found = [
            _stored(name, entry["size"], entry)
            for name, entry in named
            if entry["type"] == "file" and name.startswith(prefix)
        ]
        return found, json.dumps(folders) if folders else None

    async def head(self, name: str) -> StoredObject | None:
        """Implement `Driver.head`."""
        try:
            found = await self._fs._info(self._path(name))  # noqa: SLF001
        except FileNotFoundError:
            return None
        return _stored(name, found["size"], found) if found["type"] == "file" else None

    async def get(self, name: str, start: int, stop: int) -> bytes:
        """Implement `Driver.get`."""
        content: bytes = await self._fs._cat_file(self._path(name), start=start, end=stop)  # noqa: SLF001
        return content

    async def put(self, name: str, content: bytes) -> bool:
        """Implement `Driver.put`."""
        await self._fs._pipe_file(self._path(name), content)  # noqa: SLF001
        found = await self.head(name)
        return found is not None and found.size_bytes == len(content) and found.md5 == _md5(content)

    async def put_file(self, path: Path, name: str) -> None:
        """Store a file of any size. The client chooses the size of the parts."""
        overwrite = {"overwrite": True} if type(self._fs).__module__.startswith("adlfs") else {}
        await self._fs._put_file(str(path), self._path(name), **overwrite)  # noqa: SLF001

    async def remove(self, name: str) -> None:
        """Implement `Driver.remove`."""
        try:
            await self._fs._rm_file(self._path(name))  # noqa: SLF001
        except FileNotFoundError:
            return


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _tag(found: Mapping[str, Any]) -> str:
    return str(found.get("ETag") or found.get("etag") or "").strip('"')


def _stored(name: str, size_bytes: int, found: Mapping[str, Any]) -> StoredObject:
    """Convert a client's description of an object to a record. Listings and single responses give equal records."""
    changed = found.get("LastModified") or found.get("updated") or found.get("last_modified") or ""
    shown = changed.strftime("%Y-%m-%dT%H:%M:%S") if hasattr(changed, "strftime") else str(changed)
    tag = str(found.get("generation") or _tag(found))
    return StoredObject(name, int(size_bytes), f"{tag} {shown}", _known_md5(found))


def _known_md5(found: Mapping[str, Any]) -> str | None:
    """Return the md5 that a server reports for an object, in hexadecimal, or None if it reports no valid md5."""
    tag = _tag(found).lower()
    if len(tag) == 32 and all(digit in "0123456789abcdef" for digit in tag):
        return tag
    settings = found.get("content_settings")
    said = found.get("md5Hash") or (settings.get("content_md5") if isinstance(settings, Mapping) else None)
    if isinstance(said, bytes | bytearray):
        return bytes(said).hex()
    try:
        return base64.b64decode(said, validate=True).hex() if isinstance(said, str) else None
    except binascii.Error:
        return None
