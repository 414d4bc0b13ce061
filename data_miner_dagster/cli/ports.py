"""Check whether a web server can listen on a port, and find the process that already listens there."""

import errno
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError

_LISTENS: Final = "0A"
"""The state of a listening socket, in the fourth field of /proc/net/tcp.

Source: proc(5), and TCP_LISTEN in include/net/tcp_states.h.
"""
_MOST_OF_A_COMMAND: Final = 120
_IS_UP: Final = re.compile(r"data[-_]miner\S* .*\bup\b")


def check_port(host: str, port: int, option: str = "--port", host_option: str = "--host") -> None:
    """Check that a server can listen on a port of `host`, then release the port.

    `option` and `host_option` are the options or settings that set the port and the host.

    Raises:
        ConfigError: a server cannot listen there. The message says which process to stop, or which option to use.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(
            f"{host_option} {host} is not a known address ({error}); use an address of this machine"
        ) from error
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like the server; allows TIME_WAIT
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                raise ConfigError(_refusal(host, port, error, option, host_option)) from error


def _refusal(host: str, port: int, error: OSError, option: str, host_option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        who = listener(port)
        if who is None:
            return f"port {port} of {host} is in use by another process; stop that process, or use another {option}"
        by, stop = f"process {who[0]} ({who[1]})", f"stop it with `kill {who[0]}`"
        return f"port {port} of {host} is in use by {by}; {stop}, or use another {option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; use another {host_option}"
    if error.errno == errno.EACCES:
        return f"port {port} requires special privileges ({error.strerror}); use a {option} above 1023"
    return f"port {port} of {host} cannot be used ({error.strerror}); use another {host_option} or {option}"


def listener(port: int) -> tuple[int, str] | None:
    """Return the id and command line of the process that occupies a port, or None if it cannot be determined.

    If a `data-miner up` would restart that process, return the id and command line of `up` instead, because it is the
    process to stop. The command line is cut to 120 characters.
    """
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # belongs to another user, or has ended
            if any(_target(file) in wanted for file in (process / "fd").iterdir()):
                # `up` restarts our web server when it is stopped, so `up` must be stopped instead
                parent = Path("/proc") / (process / "stat").read_text().rpartition(")")[2].split()[1]
                who = parent if _IS_UP.search(_command(parent)) else process
                return int(who.name), _command(who)[:_MOST_OF_A_COMMAND]
    return None


def _target(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None  # closed since the folder was listed, like the descriptor used for listing it


def _command(process: Path) -> str:
    return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found
