"""Parse host names and response headers without depending on yt-dlp."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMERIC_HOST: Final = re.compile(r"https?://(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\])(?::\d+)?/")

_MAX_DIGITS: Final = 18
"""The maximum number of digits in a size, since a server may send any number of them."""


def normalize_host(host: str) -> str:
    """Return `host` normalized for comparison: lower case, without brackets or the root dot."""
    return host.strip("[]").rstrip(".").lower()


def has_numeric_host(url: str) -> bool:
    """Return whether a URL's host is an IP address. Only the generic extractor accepts such URLs."""
    return _NUMERIC_HOST.match(url) is not None


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Return the wait in seconds that a Retry-After header requests as a number or a date.

    Return None if there is no header, or if it contains neither a number nor a date.

    stages/downloading/failures.py decides how much of the wait to honour. Source: RFC 9110, 10.2.3.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])  # a server may send any number of digits
    try:
        date = parsedate_to_datetime(text[:100])
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def promised_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the full file size that the headers of a full or partial response state, or None if they state none.

    Source: RFC 9110, 8.6 (Content-Length) and 14.4 (Content-Range).
    """
    part = headers.get("Content-Range")
    text = (headers.get("Content-Length", "") if part is None else part.rpartition("/")[2]).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
