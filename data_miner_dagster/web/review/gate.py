"""ASGI middleware that adds headers to the review pages, and requires a session for all but a few of them.

The guard in front of it (web/guard.py) checks Host, Origin and content type. This module identifies the visitor.
"""

import re
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.responses import JSONResponse, Response

from data_miner_dagster.web.guard import App, Message, Receive, Scope, Send
from data_miner_dagster.web.review.access import SESSION_SECONDS, Access, Session
from data_miner_dagster.web.review.templating import page

LOGIN_PAGE: Final = "/login"
LOGIN_API: Final = "/api/login"
IDENTITY: Final = "/identity"
_OPEN: Final = frozenset({LOGIN_PAGE, LOGIN_API, IDENTITY})
_OPEN_FOLDER: Final = "/static/"
_NAMED: Final = re.compile(r"/(?:projects|report)/([A-Za-z0-9][A-Za-z0-9_.-]{0,99})(?:/|$)")
"""Matches the project in an address, so that the page for visitors who are not logged in can name the project."""
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The content security policy. Inline scripts and styles are refused, except for `style` attributes, which the library
that draws boxes sets."""
_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_KEPT: Final = (
    b"cache-control",
    b"no-cache",
)  # browsers ask each time, but receive a file again only if it has changed
_NOT_KEPT: Final = (b"cache-control", b"no-store")


def cookie_name(port: int) -> str:
    """Return the name of the session cookie.

    The name contains the port because browsers send cookies to all ports of a host.
    """
    return f"data_miner_review_{port}"


def set_cookie(response: Response, port: int, session: Session | None) -> None:
    """Set the visitor's session cookie, or remove it if `session` is None."""
    response.set_cookie(
        cookie_name(port),
        "" if session is None else session.secret,
        max_age=0 if session is None else round(SESSION_SECONDS),
        httponly=True,
        samesite="strict",
    )


class Gate:
    """An ASGI application that admits visitors with a session, and all visitors to the paths that need no login.

    The session, or None without one, is stored in `scope["session"]`.
    """

    def __init__(self, app: App, access: Access, port: int) -> None:
        self._app = app
        self._access = access
        self._cookie_name = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its visitor is logged in or its path needs no login. Otherwise, respond with 401.

        Headers for security and caching that are missing from a response are added.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        path = scope["path"]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                named = {name.lower() for name, _ in own}
                caching = _KEPT if path.startswith(_OPEN_FOLDER) else _NOT_KEPT
                message["headers"] = [*own, *(header for header in (*_HEADERS, caching) if header[0] not in named)]
            await send(message)

        scope["session"] = self._session(scope)
        if scope["session"] is None and path not in _OPEN and not path.startswith(_OPEN_FOLDER):
            await _stranger(path)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _session(self, scope: Scope) -> Session | None:
        cookies: SimpleCookie = SimpleCookie()
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    cookies.load(value.decode("latin-1"))
                except CookieError:
                    return None
        cookie = cookies.get(self._cookie_name)
        return self._access.session(cookie.value) if cookie is not None and cookie.value else None


def _stranger(path: str) -> Response:
    if path.startswith("/api/"):
        return JSONResponse({"error": "you are not logged in; run `data-miner review PROJECT` for a link"}, 401)
    named = _NAMED.match(path)
    return page("stranger.html.j2", {"project": named[1] if named else ""}, who=None, status=401)
