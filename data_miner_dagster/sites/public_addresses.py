"""Resolve host names to public addresses only, and connect to the resolved addresses.

Every address that a name resolves to must be public, unless the configuration lists the host. Connections are made to
the checked addresses themselves, so that a name cannot resolve to something else after the check.
"""

import socket
from collections.abc import Collection
from typing import Any

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.sites.hosts import normalize_host
from data_miner_dagster.sites.special_addresses import is_public_address


class PrivateAddressError(ConfigError):
    """A host resolves to a non-public address that the configuration does not allow."""


def is_allowed_private(host: str, allowed_private_hosts: Collection[str]) -> bool:
    """Return whether the configuration allows private addresses for a host."""
    return normalize_host(host) in {normalize_host(allowed) for allowed in allowed_private_hosts}


def resolved_addresses(host: str, port: int, allowed_private_hosts: Collection[str]) -> list[tuple[int, Any]]:
    """Resolve `host` to (family, socket address) pairs, all of them allowed.

    A single private address among public ones is enough to refuse the host, since mixing them suggests an attack.

    Raises:
        PrivateAddressError: an address is not public, and the configuration does not allow the host.
        OSError: the host name cannot be resolved.
    """
    found: list[tuple[int, Any]] = [
        (family, address)
        for family, _, _, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        if family in (socket.AF_INET, socket.AF_INET6)
    ]
    if not found:
        raise OSError(f"{host} has no address")
    if not is_allowed_private(host, allowed_private_hosts):
        for _, address in found:
            if not is_public_address(str(address[0])):
                raise PrivateAddressError(
                    f"{host} resolves to {address[0]}, which is not a public address; "
                    "list the host in platform.downloading.allowed_private_hosts to allow it"
                )
    return found


def connect_to_any(addresses: Collection[tuple[int, Any]], timeout: float | None) -> socket.socket:
    """Return a socket connected to the first of `addresses` that accepts a connection.

    `timeout` is the time in seconds to wait for each address, or None to wait without a limit.

    Raises:
        OSError: none of the addresses accepts a connection.
    """
    failure: OSError | None = None
    for family, address in addresses:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError("no address was given")
