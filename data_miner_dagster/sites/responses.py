"""Read and decompress responses from sites within size limits, and count their bytes."""

import io
import time
import urllib.response
import zlib
from typing import Any, Final

from yt_dlp.networking._urllib import UrllibResponseAdapter
from yt_dlp.networking.exceptions import RequestError

from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note

MAX_PAGE_BYTES: Final = 64 << 20
"""The maximum size of a page, manifest or feed that is read completely. The configuration limits the size of videos."""


class PageTooLargeError(RequestError):  # type: ignore[misc]
    """A page that has to be read completely is larger than `MAX_PAGE_BYTES`."""


def unpacked(response: Any) -> Any:
    """Return a response with its content decompressed, or the same response if its content is not compressed.

    Raises:
        RequestError: the encoding was not requested, the content is damaged, or a page is larger than `MAX_PAGE_BYTES`.
    """
    encodings = [part.strip().lower() for part in response.headers.get("Content-Encoding", "").split(",")]
    encodings = [encoding for encoding in encodings if encoding not in ("", "identity")]
    if not encodings:
        return response
    began = time.monotonic()
    content = _read_page(response)
    _note_received(len(content), began)
    for encoding in reversed(encodings):
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise RequestError(f"the server used the Content-Encoding {encoding!r}, which was not requested")
        try:
            content = _inflate(content, encoding)
        except zlib.error as error:
            raise RequestError(f"the server's answer is not valid {encoding} ({error})") from None
    del response.headers["Content-Encoding"]
    plain = urllib.response.addinfourl(io.BytesIO(content), response.headers, response.url, response.code)
    plain.msg = response.msg  # type: ignore[attr-defined]
    plain.is_counted = True  # type: ignore[attr-defined]
    return plain


def _inflate(raw: bytes, encoding: str) -> bytes:
    wbits = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}[encoding]
    try:
        inflater = zlib.decompressobj(wbits)
        content = inflater.decompress(raw, MAX_PAGE_BYTES + 1)
    except zlib.error:
        if encoding != "deflate":
            raise
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers send a raw deflate stream
        content = inflater.decompress(raw, MAX_PAGE_BYTES + 1)
    if len(content) > MAX_PAGE_BYTES:
        raise PageTooLargeError(
            f"the compressed page expands to more than {MAX_PAGE_BYTES:,} bytes, a limit that cannot be changed; "
            "use the address of another page, or remove this one from the sources"
        )
    return content


def _note_received(num_bytes: int, began: float) -> None:
    """Record the number of received bytes, and the time since `began` (on the monotonic clock)."""
    note(Measured(bytes_received=num_bytes, floor_seconds=time.monotonic() - began))


def _read_page(response: Any) -> bytes:
    content: bytes = response.read(MAX_PAGE_BYTES + 1)
    if len(content) > MAX_PAGE_BYTES:
        raise PageTooLargeError(
            f"the page is larger than {MAX_PAGE_BYTES:,} bytes, a limit that cannot be changed; use the address of "
            "another page, or remove this one from the sources"
        )
    return content


class CappedResponse(UrllibResponseAdapter):  # type: ignore[misc]
    """A response that raises an error if reading it completely would exceed `MAX_PAGE_BYTES`."""

    def read(self, amt: int | None = None) -> bytes:
        """Return up to `amt` bytes, or all remaining bytes if `amt` is None or negative.

        Raises:
            PageTooLargeError: all remaining bytes are requested, and there are more than `MAX_PAGE_BYTES`.
        """
        if amt is not None and amt >= 0:
            return self._read_noted(amt)
        blocks, total = [], 0
        while block := self._read_noted(1 << 16):
            total += len(block)
            if total > MAX_PAGE_BYTES:
                self.close()
                raise PageTooLargeError(
                    f"the page is larger than {MAX_PAGE_BYTES:,} bytes, a limit that cannot be changed; use the "
                    "address of another page, or remove this one from the sources"
                )
            blocks.append(block)
        return b"".join(blocks)

    def _read_noted(self, amt: int) -> bytes:
        began = time.monotonic()
        content: bytes = super().read(amt)
        if not getattr(self.fp, "is_counted", False):
            _note_received(len(content), began)
        return content
