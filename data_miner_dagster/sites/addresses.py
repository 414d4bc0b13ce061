"""Network address policy, enforced at the socket for every resolved address of every connection.

Belongs here: the policy and the one function that connects. Does not belong here: the table of addresses
(special_addresses.py), HTTP, yt-dlp.
"""

import socket
from collections.abc import Collection
from typing import Any

from yt_dlp.networking.exceptions import RequestError

from data_miner_dagster.sites.hosts import normalise_host
from data_miner_dagster.sites.special_addresses import is_public_address


class AddressRefusedError(RequestError):  # type: ignore[misc]  # yt-dlp carries no types
    """Raised if a host resolves to a non-public address that the configuration does not allow.

    It is a `RequestError`, not a `TransportError` or `OSError`, so that yt-dlp neither retries nor swallows it.
    """


def checked_addresses(host: str, port: int, allowed_private_hosts: Collection[str]) -> list[tuple[int, Any]]:
    """Resolve `host` and return its (family, socket address) pairs, all of them allowed.

    A single private address among public ones causes refusal, since a resolver that mixes them suggests an attack.

    Raises:
        AddressRefusedError: an address is private, loopback, link-local or reserved, and the host is not allowed.
        OSError: the name does not resolve.
    """
    found: list[tuple[int, Any]] = [
        (family, address)
        for family, _, _, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not found:
        raise OSError(f"{host} has no address")
    if normalise_host(host) not in {normalise_host(allowed) for allowed in allowed_private_hosts}:
        for _, address in found:
            if not is_public_address(str(address[0])):
                raise AddressRefusedError(
                    f"{host} resolves to {address[0]}, which is not a public address; "
                    "list the host in platform.downloading.allowed_private_hosts if it is meant"
                )
    return found


def connect_checked(
    host: str, port: int, timeout: float | None, allowed_private_hosts: Collection[str]
) -> socket.socket:
    """Return a socket connected to a checked address, without resolving the name a second time.

    Raises:
        AddressRefusedError: see `checked_addresses`.
        OSError: none of the addresses accepts a connection.
    """
    failure: OSError | None = None
    for family, address in checked_addresses(host, port, allowed_private_hosts):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError(f"{host} has no address")
