"""Our own table of the IP addresses that do not belong to the public internet.

The interpreter's tables (`ipaddress.is_global`) differ between patch versions of Python (CVE-2024-4032) and miss most
ways of wrapping an IPv4 address in an IPv6 address.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries as of 2025, and the IPv6 Address Space registry
(global unicast is only 2000::/3). The registries omit multicast (RFC 5771, RFC 4291), IPv4-compatible and site-local
addresses (RFC 4291), IPv4-translated addresses (RFC 2765), and the former 6to4 relays (RFC 7526).
"""

import ipaddress
from typing import Final

_SPECIAL_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind a carrier's NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, used by cloud metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # former 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, drones
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
# Everything outside 2000::/3 is refused too: ::1, ::a.b.c.d, ::ffff:0:a.b.c.d, 64:ff9b:1::/48 (local NAT64),
# 100::/64 (discard), 5f00::/16 (segment routing), fc00::/7, fe80::/10, fec0::/10, ff00::/8.
_WRAPPING_V6: Final = (  # the wrapped IPv4 address decides; the number is its offset from the right in bits
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)


def is_public_address(address: str) -> bool:
    """Return whether an IP address is global unicast. For an IPv4 address wrapped in IPv6, the IPv4 address counts."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_V4)
    for network, shift in _WRAPPING_V6:
        if ip in network:
            return is_public_address(str(ipaddress.IPv4Address(int(ip) >> shift & 0xFFFFFFFF)))
    return ip in _GLOBAL_V6 and not any(ip in network for network in _SPECIAL_V6)
