"""ASGI middleware that refuses requests that a foreign web page could make a browser send.

Dagster's web server has no accounts and listens on loopback. However, any page in a browser can reach loopback with a
form or link to a mutation, with a WebSocket, or with a name that the page's owner points at 127.0.0.1 (DNS rebinding).
Therefore the Host must be one of our names, the Origin must match the Host, and a mutation must be a POST with JSON. No
page can send such a request to another origin without a preflight request.

Belongs here: checks of headers and methods. The module knows nothing about Dagster except that /graphql is GraphQL.
"""

import ipaddress
import urllib.parse
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_QUERY: Final = 100_000


def host_name(text: str) -> str | None:
    """Return the host of `host:port` in lower case, without brackets or a final dot, or None if it is not valid."""
    try:
        parts = urllib.parse.urlsplit(f"//{text}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return (parts.hostname or "").rstrip(".") or None


def changes_something(query: str) -> bool:
    """Return whether a GraphQL document contains an operation other than a query.

    A document that is too long or too deeply nested to be examined counts as a change. Invalid GraphQL does not.
    """
    if len(query) > _MAX_QUERY:
        return True
    try:
        document = parse(query)
    except GraphQLError:
        return False
    except RecursionError:
        return True
    return any(
        isinstance(node, OperationDefinitionNode) and node.operation is not OperationType.QUERY
        for node in document.definitions
    )


class Guard:
    """An ASGI application that refuses requests that a foreign web page could make a browser send.

    It passes all other requests on to `app`.

    Args:
        app: the guarded application.
        hosts: the server's names besides the loopback names, such as its bind address or a reverse proxy's host.
            Wildcard addresses such as 0.0.0.0 and invalid names are ignored.
    """

    def __init__(self, app: App, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._named = frozenset(name for host in hosts if (name := host_name(host)) and not _is_any_address(name))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on to the guarded application.

        An X-Frame-Options header is added to the application's responses.
        """
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if refusal := self._refusal(scope):
            await _refuse(scope, receive, send, *refusal)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":  # prevents clickjacking by a page that frames ours
                message["headers"] = [*message.get("headers", ()), (b"x-frame-options", b"SAMEORIGIN")]
            await send(message)

        await self._app(scope, receive, send_unframed)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and message for refusing a request, or None to allow it."""
        headers = _headers(scope)
        host = headers.get("host", "")
        name = host_name(host)
        if name is None or name not in LOOPBACK_NAMES | self._named | _own_address(scope):
            return 421, (
                f"this server does not answer to the host {host!r}; use 127.0.0.1 instead, or, for Dagster's pages, "
                "list the host in platform.web.hosts or DATA_MINER_WEB_HOSTS and restart the server"
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return 403, f"requests from pages at {origin!r} are refused; use a page of this server"
        if scope["type"] == "websocket":
            return None
        if scope["method"] in _READING:
            query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1")).get("query", [])
            if scope["path"].rstrip("/").endswith("/graphql") and any(map(changes_something, query)):
                return (
                    405,
                    "the query in the address changes something, or is too long or too deeply nested to check; send "
                    "it by POST as JSON",
                )
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "requests from pages of other sites are refused; use a page of this server"
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return 415, f"content of type {content_type or 'unknown'} is not accepted; send changes as application/json"
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            parts = urllib.parse.urlsplit(origin)
            if parts.scheme not in ("http", "https"):
                return False
            return parts.netloc.lower() == host.lower() or host_name(parts.netloc) in self._named - LOOPBACK_NAMES
        except ValueError:
            return False


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by name, with repeated values joined, so that a repeated Host or Origin is refused."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _own_address(scope: Scope) -> frozenset[str]:
    """Return a set with the IP address that accepted the connection, or an empty set if it is unknown.

    No page can spoof this address with a DNS name.
    """
    server = scope.get("server")
    return frozenset({str(server[0]).lower()}) if server and not _is_any_address(str(server[0])) else frozenset()


def _is_any_address(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, line: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = f"{line}\n".encode(errors="replace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
