"""ASGI middleware that leads from Dagster's pages to the review pages, which have a server and a port of their own.

Events keep their metadata permanently, but each `data-miner up` may serve the review pages on another port. Links in
events therefore lead to this middleware, which redirects them to the port of the `up` that shows them.
"""

from typing import Final
from urllib.parse import quote

from data_miner_dagster.config.web import REVIEW_LINKS
from data_miner_dagster.web.guard import App, Receive, Scope, Send

_REFUSED: Final = b"this address only leads to the review pages; open it in a browser\n"


class ReviewLinks:
    """An ASGI application that redirects links to the review pages, and passes all other requests on.

    Args:
        app: the application that answers all other requests.
        address: the URL of the review pages, without a path.
    """

    def __init__(self, app: App, address: str) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect a GET or HEAD request for a review page to that page. Respond to other methods with 405.

        Requests for anything else are passed on.
        """
        if scope["type"] != "http" or not scope["path"].startswith(f"{REVIEW_LINKS}/"):
            await self._app(scope, receive, send)
            return
        is_reading = scope["method"] in ("GET", "HEAD")
        page = quote(scope["path"].removeprefix(REVIEW_LINKS))  # begins with /, so the host stays the same
        headers = [(b"location", f"{self._address}{page}".encode())] if is_reading else []
        body = b"" if is_reading else _REFUSED
        headers += [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 302 if is_reading else 405, "headers": headers})
        await send({"type": "http.response.body", "body": body})
