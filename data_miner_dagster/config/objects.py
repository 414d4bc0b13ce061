"""Buckets: where videos, backups and releases may be stored outside the root, and which files may name them."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.downloading import Reference
from data_miner_dagster.domain.object_urls import BUCKET_PROTOCOLS, OBJECT_PROTOCOLS, ObjectUrl


def _object_url(text: str) -> str:
    url = ObjectUrl.parse(text)
    if url.protocol not in BUCKET_PROTOCOLS:
        raise ValueError(f"write an address of {', '.join(f'{name}://' for name in BUCKET_PROTOCOLS)}")
    return url.text


def _store_prefix(text: str) -> str:
    if text.removesuffix("://") in OBJECT_PROTOCOLS and text.endswith("://"):
        return text
    try:
        return ObjectUrl.parse(text).text
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; or a protocol alone, such as s3://") from None


BucketUrls = Annotated[tuple[Annotated[str, AfterValidator(_object_url)], ...], Field(min_length=1)]
"""Addresses of buckets, objects or prefixes of objects."""


class StoreConfig(ConfigModel):
    """How the buckets below one address are reached, under `platform.objects.stores`.

    Without an entry, the client's own settings apply, such as AWS_ACCESS_KEY_ID or the role of the machine.
    """

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """The server, such as `http://127.0.0.1:9000` of a MinIO. Default: the cloud's own."""
    region: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """S3: the region of the buckets."""
    account: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """Azure: the name of the storage account."""
    access_key: Reference | None = None
    """S3: the access key. `env:NAME` or `file:PATH`, as all that follow."""
    secret_key: Reference | None = None
    """S3: the secret key. Azure: the key of the account."""
    token: Reference | None = None
    """S3: the session token. Google: the JSON of a service account. Azure: a shared access signature. Hub: the
    token."""
    anonymous: bool = False
    """Ask without credentials, as public buckets allow."""


class ObjectsConfig(ConfigModel):
    """The `platform.objects` section. Needs `pip install 'data-miner-dagster[objects]'`."""

    stores: Mapping[Annotated[str, AfterValidator(_store_prefix)], StoreConfig] = Field(default_factory=dict)
    """Credentials and endpoints by address: `s3://` for all of S3, `s3://bucket` or `s3://bucket/folder` for less. The
    longest that fits holds. Addresses in project files hold neither."""
    allowed_prefixes: tuple[Annotated[str, AfterValidator(_object_url)], ...] = ()
    """Addresses below which files of the watched folder may name videos. Other project files may name any. Default:
    none, since anyone who writes a file there would read with the platform's credentials."""
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    """A request without an answer for this long has failed."""
    min_bytes_per_second: int = Field(default=20_000, ge=1)
    """A transfer that is slower, on top of `timeout_seconds`, has failed."""
    tries: int = Field(default=6, ge=1, le=20)
    """How often a request is made that fails in a way that may pass: HTTP 503, a cut connection, a timeout."""
    try_delay_seconds: float = Field(default=0.5, ge=0, le=60)
    """The pause before the second try. Doubled with each further one, up to 30 seconds."""
    concurrent_transfers: int = Field(default=8, ge=1, le=64)
    """Files of a backup, restore, export or publication that are transferred concurrently."""
