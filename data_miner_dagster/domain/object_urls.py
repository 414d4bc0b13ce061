"""Addresses of objects in buckets, such as `s3://bucket/folder/clip.mp4`.

Only text that a user wrote, or the listing of a bucket that a user named, becomes an `ObjectUrl`. Text from a site's
page, feed or list never does: `ForeignAddress` (addresses.py) refuses the protocols of buckets. Belongs here: the form
of an address. Does not belong here: credentials, endpoints and requests (config/objects.py, objects/).
"""

import re
from dataclasses import dataclass
from typing import Final

BUCKET_PROTOCOLS: Final = ("s3", "gs", "az")
"""The protocols of Amazon S3 and compatible services, Google Cloud Storage, and Azure Blob Storage."""
HUB_PROTOCOL: Final = "hf"
"""The protocol of the Hugging Face hub, to which releases are published."""
OBJECT_PROTOCOLS: Final = (*BUCKET_PROTOCOLS, HUB_PROTOCOL)
HUB_REMEDY: Final = "is on the Hugging Face hub, which is not a source; download its files, and use `type: files`"
"""The end of a sentence about an address on the hub where the address of a source is expected."""
_EXAMPLES: Final = "s3://bucket/folder, gs://bucket/folder or az://container/folder"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z0-9+.:-]*)?://")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_MAX_NAME_BYTES: Final = 1024
"""S3's limit for the name of an object. The limits of the other services are not lower."""
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\\\\?#*\ud800-\udfff\u2028\u2029]")
"""Control characters, and characters that some clients interpret as a version, a fragment or a pattern."""


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """The address of an object, or of a prefix of objects, in a bucket. An empty `path` means the whole bucket.

    Raises:
        ValueError: a part is not valid. The message gives the reason, without the address.
    """

    protocol: str
    bucket: str
    path: str = ""

    def __post_init__(self) -> None:
        if self.protocol not in OBJECT_PROTOCOLS:
            raise ValueError(
                f"the protocol {self.protocol!r} is not supported; use one of {', '.join(OBJECT_PROTOCOLS)}"
            )
        if ".." in self.bucket or not _BUCKET.fullmatch(self.bucket):
            raise ValueError(
                "the bucket's name is not valid; use 3 to 223 letters, digits, '.', '-' and '_', with a letter or "
                "digit at both ends and without '..'"
            )
        if self.path and (problem := problem_of_object_name(self.path)):
            raise ValueError(problem)

    @classmethod
    def parse(cls, text: str) -> "ObjectUrl":
        """Return the address that a user wrote, without surrounding spaces and trailing slashes.

        Raises:
            ValueError: the text chains protocols, contains credentials or a port, or has an unsupported protocol, an
                invalid bucket name or a malformed path.
        """
        text = text.strip()
        begins = _SCHEME.match(text)
        if begins is None:
            raise ValueError(f"the text is not the address of a bucket; write one such as {_EXAMPLES}")
        if "::" in text:
            raise ValueError(
                "the address chains protocols with '::', which is not allowed; write the address of the object itself"
            )
        rest = text[begins.end() :]
        bucket, _, path = rest.partition("/")
        if "@" in bucket or ":" in bucket:
            raise ValueError(
                "the address contains credentials or a port; write only the bucket's name, and set its credentials and "
                "endpoint in platform.objects.stores"
            )
        return cls(begins[0].removesuffix("://").lower(), bucket, path.rstrip("/"))

    @property
    def text(self) -> str:
        """The address as text, which is stored and shown. `parse` restores an equal address from it."""
        return f"{self.protocol}://{self.bucket}{'/' if self.path else ''}{self.path}"

    @property
    def name(self) -> str:
        """The last part of the path, or the bucket's name if the path is empty."""
        return self.path.rpartition("/")[2] or self.bucket

    def child(self, name: str) -> "ObjectUrl":
        """Return the address of an object, or of a prefix of objects, below this address.

        Raises:
            ValueError: the name is malformed.
        """
        return ObjectUrl(self.protocol, self.bucket, f"{self.path}/{name}" if self.path else name)

    def is_within(self, prefix: "ObjectUrl") -> bool:
        """Return whether this address equals the prefix or is below it. `s3://b/ab` is not below `s3://b/a`."""
        if (self.protocol, self.bucket) != (prefix.protocol, prefix.bucket):
            return False
        return not prefix.path or self.path == prefix.path or self.path.startswith(f"{prefix.path}/")

    def __str__(self) -> str:
        return self.text


def problem_of_object_name(name: str) -> str | None:
    """Return the reason why an object's name cannot be used, or None if it can be.

    Buckets accept more names than this package does, so their listings are checked, too.
    """
    if _FORBIDDEN.search(name):
        return "the path contains a character that is not allowed: a control character, '\\', '?', '#' or '*'"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "the path has an empty part, '.' or '..'"
    if len(name.encode()) > _MAX_NAME_BYTES:
        return f"the path has more than {_MAX_NAME_BYTES} bytes"
    return None


def is_object_address(text: str) -> bool:
    """Return whether a string begins like the address of a bucket or the hub, even if it is invalid or chained."""
    begins = _SCHEME.match(text.strip())
    return begins is not None and begins[0].lower().partition(":")[0] in OBJECT_PROTOCOLS


def is_hub_address(text: str) -> bool:
    """Return whether a string begins like an address on the Hugging Face hub, even if it is invalid."""
    return text.strip().lower().startswith(f"{HUB_PROTOCOL}://")
