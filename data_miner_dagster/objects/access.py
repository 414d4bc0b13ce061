"""Define access to buckets (endpoints, resolved credentials, request limits), and open fsspec's file systems."""

import importlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from data_miner_dagster.config.objects import ObjectsConfig
from data_miner_dagster.domain.errors import ConfigError

if TYPE_CHECKING:
    from fsspec.asyn import AsyncFileSystem

_CLIENTS: Final = {
    "s3": ("s3fs", "S3FileSystem"),
    "gs": (
        "gcsfs.core",
        "GCSFileSystem",
    ),  # gcsfs.GCSFileSystem first tries gRPC, which ignores endpoint and credentials
    "az": ("adlfs", "AzureBlobFileSystem"),
}
"""The module and the class of the client for each protocol."""


@dataclass(frozen=True, slots=True)
class Access:
    """One entry of `platform.objects.stores`, with its references resolved to values. Unset values are None."""

    endpoint: str | None = None
    region: str | None = None
    account: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    is_anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits for requests: response time, transfer rate, number of attempts, and delay after the first attempt."""

    timeout_seconds: float
    min_bytes_per_second: int
    tries: int
    try_delay_seconds: float

    @classmethod
    def of(cls, config: ObjectsConfig) -> "Patience":
        """Return the limits from the settings."""
        return cls(config.timeout_seconds, config.min_bytes_per_second, config.tries, config.try_delay_seconds)

    def limit_seconds(self, num_bytes: int) -> float:
        """Return the time limit, in seconds, for a request that transfers `num_bytes`."""
        return self.timeout_seconds + num_bytes / self.min_bytes_per_second


def open_file_system(protocol: str, access: Access, patience: Patience) -> "AsyncFileSystem":
    """Return fsspec's file system for `protocol`, without caches and without S3's own retries. No request is sent.

    Raises:
        ConfigError: the package for the protocol is missing, or the settings for access do not fit the protocol.
    """
    module, name = _CLIENTS[protocol]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError:
        raise ConfigError(
            f"{protocol}:// needs the package {module.partition('.')[0]}; run "
            "`pip install 'data-miner-dagster[objects]'` to install it"
        ) from None
    arguments = {"s3": _s3_arguments, "gs": _google_arguments, "az": _azure_arguments}[protocol](access, patience)
    fs: AsyncFileSystem = kind(**arguments, use_listings_cache=False, skip_instance_cache=True)
    if protocol == "s3":
        fs.retries = 1
    return fs


def _s3_arguments(access: Access, patience: Patience) -> dict[str, Any]:
    return {
        "anon": access.is_anonymous,
        "key": access.access_key,
        "secret": access.secret_key,
        "token": access.token,
        "endpoint_url": access.endpoint,
        "client_kwargs": {"region_name": access.region} if access.region else {},
        "config_kwargs": {
            "connect_timeout": patience.timeout_seconds,
            "read_timeout": patience.timeout_seconds,
            "retries": {"total_max_attempts": 1},
            **({"s3": {"addressing_style": "path"}} if access.endpoint else {}),
        },
    }


def _google_arguments(access: Access, patience: Patience) -> dict[str, Any]:
    token: Any = "anon" if access.is_anonymous else None
    if access.token is not None:
        try:
            token = json.loads(access.token)
        except ValueError:
            raise ConfigError(
                "the token for gs:// in platform.objects.stores is not the JSON key of a service account; set it to "
                "file:PATH, where PATH is the file with that key"
            ) from None
    return {
        "token": token,
        "requests_timeout": patience.timeout_seconds,
        **({"endpoint_url": access.endpoint} if access.endpoint else {}),
    }


def _azure_arguments(access: Access, _patience: Patience) -> dict[str, Any]:
    if access.account is None:
        raise ConfigError("az:// needs the name of the storage account; set `account` in platform.objects.stores")
    if access.endpoint is not None and (access.secret_key or access.token):
        return {"connection_string": _azure_connection(access, access.endpoint)}  # account_host implies TLS
    return {
        "account_name": access.account,
        "account_key": access.secret_key,
        "sas_token": access.token,
        "anon": access.is_anonymous,
        **({"account_host": access.endpoint.partition("://")[2]} if access.endpoint else {}),
    }


def _azure_connection(access: Access, endpoint: str) -> str:
    secret = f"AccountKey={access.secret_key}" if access.secret_key else f"SharedAccessSignature={access.token}"
    parts = (
        f"DefaultEndpointsProtocol={endpoint.partition('://')[0]}",
        f"AccountName={access.account}",
        secret,
        f"BlobEndpoint={endpoint}",
    )
    return ";".join(parts)
