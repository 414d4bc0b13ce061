"""Enforce the network address policy on every connection that yt-dlp opens.

Belongs here: the policy's error, as a subclass of an error that yt-dlp handles. Does not belong here: the policy itself
(public_addresses.py), the table of addresses (special_addresses.py), or HTTP.
"""

import socket
from collections.abc import Collection
from typing import Any

from yt_dlp.networking.exceptions import RequestError

from data_miner_dagster.sites.public_addresses import PrivateAddressError, connect_to_any, resolved_addresses


class AddressRefusedError(RequestError):  # type: ignore[misc]  # yt-dlp has no type annotations
    """A host resolves to a non-public address that the configuration does not allow.

    It is a `RequestError` rather than a `TransportError` or `OSError`, so that yt-dlp neither retries nor swallows it.
    """


def checked_addresses(host: str, port: int, allowed_private_hosts: Collection[str]) -> list[tuple[int, Any]]:
    """Resolve `host` to (family, socket address) pairs, all of them allowed (see `resolved_addresses`).

    Raises:
        AddressRefusedError: an address is not public, and the configuration does not allow the host.
        OSError: the host name cannot be resolved.
    """
    try:
        return resolved_addresses(host, port, allowed_private_hosts)
    except PrivateAddressError as error:
        raise AddressRefusedError(str(error)) from None


def connect_checked(
    host: str, port: int, timeout: float | None, allowed_private_hosts: Collection[str]
) -> socket.socket:
    """Return a socket connected to a checked address, without resolving the name a second time.

    `timeout` is the time in seconds to wait for each address, or None to wait without a limit.

    Raises:
        AddressRefusedError: an address is not allowed (see `checked_addresses`).
        OSError: the host name cannot be resolved, or none of its addresses accepts a connection.
    """
    return connect_to_any(checked_addresses(host, port, allowed_private_hosts), timeout)
