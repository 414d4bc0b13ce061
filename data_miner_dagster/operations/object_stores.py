"""Open folders and buckets outside the root, and find the credentials for buckets."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data_miner_dagster.config.objects import ObjectsConfig, StoreConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.object_urls import BUCKET_PROTOCOLS, ObjectUrl
from data_miner_dagster.sites.references import resolve_reference
from data_miner_dagster.storage.folder_store import FolderStore

if TYPE_CHECKING:
    from data_miner_dagster.objects.access import Access
    from data_miner_dagster.objects.bucket_store import BucketStore
    from data_miner_dagster.protocols.stores import ObjectStore

_ASKER = "platform.objects.stores"


def open_place(config: ObjectsConfig, text: str) -> "ObjectStore":
    """Return the store at a bucket's address or a folder's path.

    Raises:
        ConfigError: the address is malformed or not in a bucket, the package for its protocol is missing, or its
            settings do not fit the protocol or contain a reference that cannot be resolved.
    """
    if "://" not in text:
        return FolderStore(Path(text).expanduser())
    return open_bucket(config, bucket_url(text))


def bucket_url(text: str) -> ObjectUrl:
    """Parse the address of a bucket, or of a place in a bucket, that a user wrote.

    Raises:
        ConfigError: `text` is not a valid address, or its protocol is not one of `BUCKET_PROTOCOLS`.
    """
    try:
        url = ObjectUrl.parse(text)
    except ValueError as error:
        raise ConfigError(f"{shown_address(text)} is not a valid address: {error}") from None
    if url.protocol not in BUCKET_PROTOCOLS:
        known = ", ".join(f"{protocol}://" for protocol in BUCKET_PROTOCOLS)
        raise ConfigError(
            f"{url} is not in a bucket; use an address that begins with one of {known} (only `data-miner publish` "
            "accepts hf://)"
        )
    return url


def shown_address(text: str) -> str:
    """Return an address for a message, without the part that may contain a password."""
    return f"{text.partition('://')[0]}://..." if "@" in text else text


def open_bucket(config: ObjectsConfig, url: ObjectUrl, check: Callable[[], None] = lambda: None) -> "BucketStore":
    """Return a store of the objects below an address, without sending a request.

    Args:
        config: the settings of all buckets.
        url: the address.
        check: called before each request. It raises to stop the caller.

    Raises:
        ConfigError: the package for the protocol is missing, a reference cannot be resolved, or the settings for access
            do not fit the protocol.
    """
    from data_miner_dagster.objects.access import Patience  # imports a bucket client, which few commands need
    from data_miner_dagster.objects.bucket_store import BucketStore

    return BucketStore(url, access_of(config, url), Patience.of(config), check=check)


def access_of(config: ObjectsConfig, url: ObjectUrl) -> "Access":
    """Return the settings for access to an address, with the references to its keys resolved.

    Raises:
        ConfigError: a reference cannot be resolved.
    """
    from data_miner_dagster.objects.access import Access

    settings = settings_of(config, url)
    keys = {
        name: resolve_reference(reference, asker=_ASKER) if reference is not None else None
        for name, reference in (
            ("access_key", settings.access_key),
            ("secret_key", settings.secret_key),
            ("token", settings.token),
        )
    }
    return Access(
        endpoint=settings.endpoint,
        region=settings.region,
        account=settings.account,
        is_anonymous=settings.anonymous,
        **keys,
    )


def settings_of(config: ObjectsConfig, url: ObjectUrl) -> StoreConfig:
    """Return the entry of `platform.objects.stores` for an address, or an empty entry if none matches.

    If several prefixes match, the longest is used.
    """

    def fits(prefix: str) -> bool:
        return prefix == f"{url.protocol}://" or (not prefix.endswith("://") and url.is_within(ObjectUrl.parse(prefix)))

    best = max((prefix for prefix in config.stores if fits(prefix)), key=len, default=None)
    return config.stores[best] if best is not None else StoreConfig()
