"""ASGI middleware that serves previews, the pictures whose addresses are in the metadata of events.

Only previews that the storage layout recognizes are read. An address must have a strict form, the key or name in it is
checked, and a symbolic link in place of the file is refused.
"""

import os
import stat
from typing import Final

from data_miner_dagster.storage.layout import PREVIEWS_NAME, StorageLayout
from data_miner_dagster.storage.previews import preview_at
from data_miner_dagster.web.guard import App, Receive, Scope, Send

_MAX_BYTES: Final = 1_000_000
_HEADERS: Final = (
    (b"content-type", b"image/webp"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cache-control", b"no-cache"),
)
_REFUSED: Final = ((b"content-type", b"text/plain"),)


class Previews:
    """An ASGI application that serves the previews under a root, and passes all other requests on."""

    def __init__(self, app: App, layout: StorageLayout) -> None:
        self._app = app
        self._layout = layout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a GET or HEAD request for a preview with the picture, and pass requests for other paths on.

        Respond with 404 to other methods, or if the preview does not exist, is too large or cannot be read.
        """
        if scope["type"] != "http" or not scope["path"].startswith(f"/{PREVIEWS_NAME}/"):
            await self._app(scope, receive, send)
            return
        picture = self._read(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
        body = picture if picture is not None else b"there is no preview at this address\n"
        headers = [*(_HEADERS if picture is not None else _REFUSED), (b"content-length", str(len(body)).encode())]
        status = 200 if picture is not None else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    def _read(self, address: str) -> bytes | None:
        path = preview_at(self._layout, address)
        if path is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            is_picture = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_BYTES
            return os.read(descriptor, status.st_size) if is_picture else None
        finally:
            os.close(descriptor)
