"""HTTP over checked connections, with a deadline for the whole of each request and a limit for what comes back.

The client is httpcore, whose network backend is replaced: it connects to checked addresses alone, and no wait of a
socket outlasts the request. Redirects are not followed and no proxy is taken from the environment. For downloads, which
go through yt-dlp, see transport.py.
"""

import select
import socket
import ssl
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpcore

from data_miner_dagster.domain.errors import TransientError
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.sites.public_addresses import connect_to_any, resolved_addresses

_deadline: ContextVar[float] = ContextVar("deadline")
"""Of the request that this thread is making: `time.monotonic()`."""
_IDLE_SECONDS: Final = 30.0


class NoAnswerError(TransientError):
    """Raised if no whole answer came: no connection, a cut one, too slow, too much, or no HTTP."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GuardedHttp:
    """Connections that are kept open and shared by threads.

    Args:
        allowed_private_hosts: hosts that may resolve to addresses that are not public.
        num_connections: the maximum number of connections.
    """

    def __init__(self, allowed_private_hosts: Collection[str], *, num_connections: int) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=num_connections,
            max_keepalive_connections=num_connections,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_CheckedNetwork(allowed_private_hosts),
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self._pool.close()

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, max_bytes: int
    ) -> HttpAnswer:
        """Send a body and return the whole answer, with any status.

        Raises:
            NoAnswerError: there is no answer in time, or it has more than `max_bytes`.
            PrivateAddressError: the host is not one that may be spoken to.
        """
        deadline = time.monotonic() + timeout_seconds
        token = _deadline.set(deadline)
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
        note(Measured(num_requests=1))
        try:
            with (
                _as_no_answer(),
                self._pool.stream(
                    "POST",
                    url,
                    headers=[*headers.items(), ("Content-Length", str(len(body)))],
                    content=body,
                    extensions={"timeout": timeouts},
                ) as response,
            ):
                content = _read_whole(response.iter_stream(), max_bytes)
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                return HttpAnswer(response.status, found, content)
        finally:
            _deadline.reset(token)


@contextmanager
def _as_no_answer() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise NoAnswerError("it does not answer in time") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise NoAnswerError(f"it cannot be reached, or cuts the connection ({str(error)[:120]})") from error


def _read_whole(parts: Iterable[bytes], max_bytes: int) -> bytes:
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > max_bytes:
            raise NoAnswerError(f"its answer has more than {max_bytes:,} bytes")
    note(Measured(bytes_received=len(content)))
    return bytes(content)


def _seconds_left(timeout: float | None) -> float:
    """Return how long a socket may wait now.

    Raises:
        TimeoutError: not at all.
    """
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time of the request is over")
    return left if timeout is None else min(timeout, left)


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to checked addresses alone."""

    def __init__(self, allowed_private_hosts: Collection[str]) -> None:
        self._allowed_private_hosts = tuple(allowed_private_hosts)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - of the interface
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - of the interface
    ) -> httpcore.NetworkStream:
        try:
            addresses = resolved_addresses(host, port, self._allowed_private_hosts)
            connection = connect_to_any(addresses, _seconds_left(timeout))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(connection)


class _Stream(httpcore.NetworkStream):
    """A socket that waits no longer than the request may take."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(_seconds_left(timeout))
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated(httpcore.WriteTimeout, httpcore.WriteError):
            rest = memoryview(buffer)
            while rest:
                self._socket.settimeout(_seconds_left(timeout))
                rest = rest[self._socket.send(rest) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._socket.settimeout(_seconds_left(timeout))
                return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
            except BaseException:
                self.close()
                raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of an idle connection: the other side has closed it
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None


@contextmanager
def _translated(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
