"""HTTP over checked connections, with a deadline for each request and a size limit for each response.

The client is httpcore with a replaced network backend, which connects only to checked addresses. No socket waits beyond
its request's deadline. Redirects are not followed, and the environment's proxies are ignored. Downloads go through
yt-dlp instead (transport.py).
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
"""The deadline of this thread's current request, on the clock of `time.monotonic()`."""
_IDLE_SECONDS: Final = 30.0


class NoAnswerError(TransientError):
    """No usable response arrived: the connection failed or timed out, or the response is not HTTP or is too large."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GuardedHttp:
    """A thread-safe HTTP client with persistent connections.

    Args:
        allowed_private_hosts: hosts that may resolve to non-public addresses.
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
        """Send `body` in a POST request, and return the complete response, whatever its status.

        Raises:
            NoAnswerError: the connection failed, no complete response arrived in time, or the response has more than
                `max_bytes` bytes.
            PrivateAddressError: the host resolves to an address that is not allowed.
        """
        deadline = time.monotonic() + timeout_seconds
        token = _deadline.set(deadline)
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
        note(Measured(num_requests=1))
        try:
            with (
                _as_no_answer(timeout_seconds),
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
def _as_no_answer(timeout_seconds: float) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise NoAnswerError(f"the server did not send a complete answer within {timeout_seconds:g} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        reason = str(error)[:120] or type(error).__name__
        raise NoAnswerError(f"the request did not reach the server, or received no valid answer ({reason})") from error


def _read_whole(parts: Iterable[bytes], max_bytes: int) -> bytes:
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > max_bytes:
            raise NoAnswerError(f"the server's answer exceeds the limit of {max_bytes:,} bytes")
    note(Measured(bytes_received=len(content)))
    return bytes(content)


def _seconds_left(timeout: float | None) -> float:
    """Return how long a socket may wait, in seconds: `timeout`, or less if the request's deadline is sooner.

    Raises:
        TimeoutError: the request's deadline has passed.
    """
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return left if timeout is None else min(timeout, left)


class _CheckedNetwork(httpcore.NetworkBackend):
    """A network backend that connects only to checked addresses."""

    def __init__(self, allowed_private_hosts: Collection[str]) -> None:
        self._allowed_private_hosts = tuple(allowed_private_hosts)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - part of the interface
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - part of the interface
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
    """A connection that never waits beyond the deadline of the current request."""

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
        if info == "is_readable":  # readable while idle means that the server has closed the connection
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
