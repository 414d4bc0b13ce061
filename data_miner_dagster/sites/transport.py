"""yt-dlp's only access to the network: a request handler with an address policy, byte limits and a deadline.

yt-dlp's own handlers are not used. Everything that yt-dlp fetches (pages, manifests, fragments, files, redirects)
passes through `GuardedHandler`, which checks the addresses of a host (addresses.py) before it connects. Behind a
proxy, a host whose name only the proxy can resolve is not checked.
"""

import http.client
import math
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from yt_dlp.networking._helper import make_socks_proxy_opts
from yt_dlp.networking._urllib import (
    HTTPHandler,
    ProxyHandler,
    UrllibRH,
)
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.socks import sockssocket
from yt_dlp.utils.networking import select_proxy

from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.sites.addresses import checked_addresses, connect_checked
from data_miner_dagster.sites.hosts import normalize_host, promised_bytes
from data_miner_dagster.sites.opt_outs import OptedOutError, opt_out_of
from data_miner_dagster.sites.redirects import DiscreetRedirects
from data_miner_dagster.sites.responses import CappedResponse, unpacked


class DeadlineExceededError(RequestError):  # type: ignore[misc]
    """The time allowed for one listing, download or request for pictures has passed."""

    def __init__(self, seconds: float) -> None:
        """Create the error. `seconds` is the time that was allowed."""
        # No host or site here: sites/errors.py may classify the message by its words.
        super().__init__(
            f"the time allowed for a listing, download or request for pictures ({seconds:.0f} s) has passed, so it was "
            "stopped"
        )


class QueueStoppedError(RequestError):  # type: ignore[misc]
    """A request was not sent because the breaker of its site, or the one for all sites, is open."""


@dataclass(slots=True)
class Errand:
    """One listing, download or request for pictures, with its deadline and open sockets."""

    site: str  # a host or a site name, to which its requests are attributed
    deadline: float  # time.monotonic()
    may_request: Callable[[str], bool] = lambda _site: True  # called with the site before each request
    # called with (site, HTTP status, headers) for each response
    on_response: Callable[[str, int, Mapping[str, str]], None] = lambda _site, _status, _headers: None
    refuses_opt_outs: bool = False  # refuse responses whose headers opt out
    is_expired: bool = False
    sockets: "weakref.WeakSet[socket.socket]" = field(default_factory=weakref.WeakSet)
    refused: list[Any] = field(default_factory=list)  # responses with an error status, which nothing else closes
    forbidden: dict[object, str] = field(default_factory=dict)  # the error of each request answered with 401 or 403
    began: float = field(default_factory=time.monotonic)  # time.monotonic()
    promised_bytes: int | None = None  # full file size from the headers of the last response; None if not stated

    def end(self) -> None:
        """Close the responses that had an error status, because nothing else closes them."""
        for response in self.refused:
            response.close()

    def expire(self) -> None:
        """Mark the errand as expired, and shut down all its connections."""
        self.is_expired = True
        for open_socket in list(self.sockets):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed, or replaced by its TLS wrapper, which is in the set too
                continue

    def exceeded(self) -> DeadlineExceededError:
        """Return the error to raise once the deadline has passed."""
        return DeadlineExceededError(self.deadline - self.began)

    def check(self) -> None:
        """Raise if no further request may be sent.

        Raises:
            DeadlineExceededError: the deadline has passed.
            QueueStoppedError: the breaker of the site, or the one for all sites, is open.
        """
        if self.is_expired or time.monotonic() >= self.deadline:
            raise self.exceeded()
        if not self.may_request(self.site):
            raise QueueStoppedError("the breaker of this site or of all sites is open, so no request is sent")


class Deadlines:
    """Watches errands in one thread, and ends each when its deadline passes.

    One thread serves all errands, since a thread per errand would cost as much as fetching a small file. A deadline
    must stop even a server that sends one byte a minute within a header or a TLS handshake, where read timeouts never
    expire. The sockets are therefore shut down.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._errands: dict[int, Errand] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    def add(self, errand: Errand) -> None:
        """Watch an errand until it is removed."""
        with self._changed:
            self._errands[id(errand)] = errand
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif errand.deadline < self._wakes_at:
                self._changed.notify()

    def remove(self, errand: Errand) -> None:
        """Stop watching an errand."""
        with self._changed:
            self._errands.pop(id(errand), None)

    def close(self) -> None:
        """End the thread. The next call of `add` starts a new thread."""
        with self._changed:
            self._thread = None
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                for errand in [errand for errand in self._errands.values() if errand.deadline <= now]:
                    del self._errands[id(errand)]
                    errand.expire()
                self._wakes_at = min((errand.deadline for errand in self._errands.values()), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


@dataclass(slots=True)
class Guard:
    """The rules for the handlers of one yt-dlp instance. `errand` is its current errand, or None if it is idle."""

    allowed_private_hosts: tuple[str, ...]
    proxy_host: str | None = None  # the user's own proxy, which may be private
    errand: Errand | None = None

    @contextmanager
    def asking_for_others(self) -> Iterator[None]:
        """While the block runs, treat responses as not coming from the site, so that they do not open its breaker."""
        errand = self.errand
        if errand is None:
            yield
            return
        on_response, errand.on_response = errand.on_response, lambda _site, _status, _headers: None
        try:
            yield
        finally:
            errand.on_response = on_response

    def check(self) -> None:
        """Raise if no further request may be sent (see `Errand.check`)."""
        if self.errand is not None:
            self.errand.check()

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """Connect to a checked address. The connection is shut down when the deadline passes.

        `timeout` is the time in seconds to wait for each address, or None for no limit but the deadline.

        Raises:
            DeadlineExceededError: the deadline has passed.
            QueueStoppedError: the breaker of the site, or the one for all sites, is open.
            AddressRefusedError: an address of the host is not allowed.
            OSError: the host name cannot be resolved, or none of its addresses accepts a connection.
        """
        allowed = self.allowed_private_hosts
        if self.proxy_host is not None and normalize_host(host) == self.proxy_host:
            allowed = (*allowed, host)
        self.check()
        connection = connect_checked(host, port, timeout, allowed)
        self.watch(connection)
        return connection

    def connect_through(self, socks_proxy: str, host: str, port: int, timeout: float | None) -> socket.socket:
        """Connect through a SOCKS proxy. The connection is shut down when the deadline passes.

        The host's addresses are checked if its name can be resolved locally. `timeout` is the time in seconds to wait
        for the proxy, or None for no limit but the deadline.

        Raises:
            DeadlineExceededError: the deadline has passed.
            QueueStoppedError: the breaker of the site, or the one for all sites, is open.
            AddressRefusedError: an address of the host is not allowed.
            OSError: a host name cannot be resolved, or the proxy cannot be reached or does not connect to the host.
        """
        proxy = make_socks_proxy_opts(socks_proxy)
        addresses = self.checked_behind_proxy(host, port, resolves_there=proxy["rdns"])
        self.check()
        family, address = checked_addresses(proxy["addr"], proxy["port"], (proxy["addr"],))[0]
        connection = sockssocket(family, socket.SOCK_STREAM)
        connection.setproxy(**{**proxy, "addr": address[0], "port": address[1]})
        connection.settimeout(timeout)
        try:
            self.watch(connection)
            # Connect to the checked address, unless the proxy resolves the name itself.
            connection.connect((host if proxy["rdns"] else addresses[0][1][0], port))
        except BaseException:
            connection.close()
            raise
        opened: socket.socket = connection
        return opened

    def checked_behind_proxy(self, host: str, port: int, *, resolves_there: bool = True) -> list[tuple[int, Any]]:
        """Return the checked addresses of a host behind a proxy, or an empty list if only the proxy can resolve it.

        Raises:
            AddressRefusedError: an address of the host is not allowed.
            OSError: the host name cannot be resolved, and `resolves_there` is False.
        """
        try:
            return checked_addresses(host, port, self.allowed_private_hosts)
        except socket.gaierror:
            if resolves_there:
                return []
            raise

    def watch(self, connection: socket.socket) -> None:
        """Register a connection to shut down when the deadline passes.

        Raises:
            DeadlineExceededError: the deadline has passed.
        """
        if self.errand is not None:
            self.errand.sockets.add(connection)
            if self.errand.is_expired:  # expired since the check
                raise self.errand.exceeded()


def _connection_class(
    guard: Guard, base: type[http.client.HTTPConnection], socks_proxy: str | None
) -> type[http.client.HTTPConnection]:
    """Return a connection class that connects through `guard` and consults it again before sending anything."""

    def connect(
        address: tuple[str, int], timeout: Any = None, _source_address: object = None, **_: object
    ) -> socket.socket:
        seconds = timeout if isinstance(timeout, (int, float)) else None
        if socks_proxy is not None:
            return guard.connect_through(socks_proxy, *address, seconds)
        return guard.connect(*address, seconds)

    class GuardedConnection(base):  # type: ignore[misc, valid-type]
        sock: socket.socket | None

        def connect(self) -> None:
            self._create_connection = connect
            http.client.HTTPConnection.connect(self)
            if issubclass(base, http.client.HTTPSConnection):
                # Register the wrapped socket with the deadline before the handshake.
                wrapped = self._context.wrap_socket(
                    self.sock, server_hostname=self._tunnel_host or self.host, do_handshake_on_connect=False
                )
                self.sock = wrapped
                guard.watch(wrapped)
                wrapped.do_handshake()

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            guard.check()  # the breaker may have opened while connecting
            super().send(data)

    return GuardedConnection


class _GuardedHttp(HTTPHandler):  # type: ignore[misc]
    """A handler that opens guarded connections and decompresses responses without trusting their stated size."""

    def __init__(self, guard: Guard, make_context: Callable[[], ssl.SSLContext]) -> None:
        super().__init__(context=None)
        self._guard = guard
        self._make_context = make_context

    @cached_property
    def _trusting(self) -> ssl.SSLContext:
        """The TLS context, created at first use because reading the trusted certificates takes 30 ms."""
        return self._make_context()

    def _open(self, request: urllib.request.Request, base: type[http.client.HTTPConnection], **options: object) -> Any:
        socks_proxy = request.headers.pop("Ytdl-socks-proxy", None)
        if request.has_proxy() or getattr(request, "_tunnel_host", None):
            target = urllib.parse.urlsplit(request.full_url)
            self._guard.checked_behind_proxy(target.hostname or "", target.port or 443)
        return self.do_open(_connection_class(self._guard, base, socks_proxy), request, **options)

    def http_open(self, request: urllib.request.Request) -> Any:
        return self._open(request, http.client.HTTPConnection)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self._open(request, http.client.HTTPSConnection, context=self._trusting)

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if self._guard.errand is not None:
            errand = self._guard.errand
            errand.on_response(errand.site, response.code, response.headers)
            if errand.refuses_opt_outs and (directive := opt_out_of(response.headers)):
                response.close()
                raise OptedOutError(directive)
        return super().http_response(request, unpacked(response))

    https_response = http_response


class GuardedHandler(UrllibRH):  # type: ignore[misc]
    """yt-dlp's urllib handler with guarded sockets, for http and https only."""

    RH_NAME = "guarded"
    RH_KEY = "Guarded"
    _SUPPORTED_URL_SCHEMES = ("http", "https")

    def __init__(self, *, guard: Guard, **options: Any) -> None:
        options["enable_file_urls"] = False
        super().__init__(**options)
        self._guard = guard

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
        opener = urllib.request.OpenerDirector()
        for handler in (
            ProxyHandler(proxies),
            _GuardedHttp(self._guard, partial(self._make_sslcontext, legacy_ssl_support=legacy_ssl_support)),
            urllib.request.HTTPCookieProcessor(cookiejar),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            DiscreetRedirects(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _prepare_headers(self, _: object, headers: Any) -> None:
        headers.setdefault("Accept-Encoding", "identity")

    def _send(self, request: Any) -> Any:
        if self._guard.errand is not None:
            self._guard.errand.check()
        proxy = select_proxy(request.url, self._get_proxies(request))
        self._guard.proxy_host = normalize_host(urllib.parse.urlsplit(proxy).hostname or "") if proxy else None
        errand = self._guard.errand
        same = (request.method, request.url, frozenset(request.headers.items())) if request.data is None else None
        if errand is not None and (answer := errand.forbidden.get(same)) is not None:
            raise RequestError(answer)  # yt-dlp requests each fragment three times, whatever the response
        note(Measured(num_requests=1))
        try:
            response = super()._send(request)
        except HTTPError as error:
            error.response.__class__ = CappedResponse
            if errand is not None:
                errand.refused.append(error.response)
                if error.status in (401, 403) and same is not None:
                    errand.forbidden[same] = str(error)
            raise
        response.__class__ = CappedResponse
        if errand is not None:
            errand.promised_bytes = promised_bytes(response.headers)
        return response
