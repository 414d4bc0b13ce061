"""Settings for buckets, which store videos, backups and releases outside the root."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.downloading import Reference
from data_miner_dagster.domain.object_urls import BUCKET_PROTOCOLS, OBJECT_PROTOCOLS, ObjectUrl


def _object_url(text: str) -> str:
    url = ObjectUrl.parse(text)
    if url.protocol not in BUCKET_PROTOCOLS:
        beginnings = " or ".join(f"{name}://" for name in BUCKET_PROTOCOLS)
        raise ValueError(f"the address does not name a bucket; write one that begins with {beginnings}")
    return url.text


def _store_prefix(text: str) -> str:
    if text.removesuffix("://") in OBJECT_PROTOCOLS and text.endswith("://"):
        return text
    try:
        return ObjectUrl.parse(text).text
    except ValueError as error:
        raise ValueError(f"{error}; a protocol alone, such as s3://, is valid too") from None


BucketUrls = Annotated[tuple[Annotated[str, AfterValidator(_object_url)], ...], Field(min_length=1)]
"""Addresses of buckets, objects or prefixes of objects."""


class StoreConfig(ConfigModel):
    """The connection settings for one address and everything below it, under `platform.objects.stores`.

    Without an entry, the client's own settings apply, such as AWS_ACCESS_KEY_ID or the machine's role.
    """

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """The URL of the server, such as `http://127.0.0.1:9000` for MinIO. Default: the server of the cloud provider."""
    region: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """S3: the region of the buckets."""
    account: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """Azure: the name of the storage account."""
    access_key: Reference | None = None
    """S3: the access key, as `env:NAME` or `file:PATH`."""
    secret_key: Reference | None = None
    """S3: the secret key. Azure: the account key. Given as `env:NAME` or `file:PATH`."""
    token: Reference | None = None
    """S3: the session token. Google: the JSON of a service account. Azure: a shared access signature. Hugging Face hub:
    the token. Given as `env:NAME` or `file:PATH`."""
    anonymous: bool = False
    """Send requests without credentials, which public buckets allow."""


class ObjectsConfig(ConfigModel):
    """The `platform.objects` section. Using buckets requires `pip install 'data-miner-dagster[objects]'`."""

    stores: Mapping[Annotated[str, AfterValidator(_store_prefix)], StoreConfig] = Field(default_factory=dict)
    """Credentials and endpoints by address: `s3://` for all of S3, `s3://bucket` or `s3://bucket/folder` for a part of
    it. The longest matching address applies. Addresses in project files contain neither credentials nor endpoints."""
    allowed_prefixes: tuple[Annotated[str, AfterValidator(_object_url)], ...] = ()
    """Addresses below which project files in the watched folder may name videos. Other project files may name any
    address. Default: none, since anyone who can write to that folder could read with the platform's credentials."""
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    """A request without an answer within this time counts as failed."""
    min_bytes_per_second: int = Field(default=20_000, ge=1)
    """The lowest speed of a transfer. A transfer counts as failed if it takes longer than it would at this speed, plus
    `timeout_seconds`."""
    tries: int = Field(default=6, ge=1, le=20)
    """The number of tries for a request with transient failures, such as HTTP 503, a dropped connection or a timeout.
    """
    try_delay_seconds: float = Field(default=0.5, ge=0, le=60)
    """The pause before the second try. It doubles with each further try, up to 30 seconds."""
    concurrent_transfers: int = Field(default=8, ge=1, le=64)
    """The most files that a backup, restore, export or publication transfers concurrently."""
