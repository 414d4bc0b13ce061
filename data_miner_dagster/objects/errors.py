"""Translate the exceptions of bucket clients into this package's errors."""

import errno
from typing import Final

from data_miner_dagster.domain.errors import (
    ConfigError,
    DataMinerError,
    ObjectError,
    ObjectForbiddenError,
    ObjectMissingError,
    ObjectTransientError,
)
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.secret_values import without_secrets

_CLIENT_PACKAGES: Final = frozenset(
    {
        "adlfs",
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
        "huggingface_hub",
        "s3fs",
        "ssl",
    }
)
_MISSING: Final = frozenset({404, 410})
_FORBIDDEN: Final = frozenset({401, 403})
_MAY_PASS: Final = frozenset({408, 409, 425, 429})
"""HTTP statuses of transient failures, besides 500 and above. On S3, 409 means that two writes conflict."""
_OURS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""Errors caused by this machine rather than by a bucket."""
_REFUSED: Final = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.ENAMETOOLONG, errno.EPERM, errno.EEXIST})
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ClientAuthenticationError"}
)
_MALFORMED: Final = frozenset(
    {"ParamValidationError", "InvalidRegionError", "InvalidEndpointDiscoveryConfigurationError"}
)
_LONGEST_MESSAGE: Final = 300


def translated(error: BaseException, what: str) -> DataMinerError | None:
    """Return this package's error for a client's exception, or None if neither the client nor the bucket caused it.

    Args:
        error: the exception.
        what: the address of the object or bucket, for the message.
    """
    said = f"a request for {what} failed ({_message(error)})"
    refused = f"{said}; check the address and platform.objects"
    transient = f"{said}; if this persists, check the connection to the server"
    if type(error).__name__ in _NO_CREDENTIALS:
        return ConfigError(f"{said}; set valid credentials, or `anonymous: true`, in platform.objects.stores")
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status in _MISSING:
        return ObjectMissingError(f"the object or bucket {what} does not exist; check the address")
    if isinstance(error, PermissionError) or status in _FORBIDDEN:
        return ObjectForbiddenError(f"{said}; check the credentials in platform.objects.stores")
    if status is not None:
        may_pass = status in _MAY_PASS or status >= 500
        return ObjectTransientError(transient) if may_pass else ObjectError(refused)
    if isinstance(error, TimeoutError):
        return ObjectTransientError(
            f"the server did not respond to a request for {what} in time; if this persists, raise "
            "platform.objects.timeout_seconds"
        )
    if isinstance(error, OSError):
        if error.errno in _OURS:
            return None
        return ObjectError(refused) if error.errno in _REFUSED else ObjectTransientError(transient)
    if type(error).__module__.partition(".")[0] in _CLIENT_PACKAGES:
        return ObjectError(refused) if type(error).__name__ in _MALFORMED else ObjectTransientError(transient)
    return None


def _status(error: BaseException) -> int | None:
    """Return the HTTP error status (400 to 599) that caused an exception, or None if no such status did."""
    for item in (error, error.__cause__):
        if type(item).__module__.partition(".")[0] == "aiohttp":  # its `code` for a truncated body is 400
            continue
        response = getattr(item, "response", None)
        if isinstance(response, dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(item, "status_code", None) or getattr(item, "code", None)
            status = status or getattr(response, "status_code", None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def _message(error: BaseException) -> str:
    return clean_text(without_secrets(str(error)), _LONGEST_MESSAGE) or type(error).__name__
