"""Names of hosts, and what they ask for in headers. Knows no yt-dlp."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_NUMERIC_HOST: Final = re.compile(r"https?://(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\])(?::\d+)?/")

_MAX_DIGITS: Final = 18
"""Of a size that is taken seriously: a server may send any number."""


def normalise_host(host: str) -> str:
    """Return `host` as hosts are compared: lower case, without brackets and the root dot."""
    return host.strip("[]").rstrip(".").lower()


def has_numeric_host(url: str) -> bool:
    """Return whether an address names its host by a number. Sites have names: only the generic extractor takes it."""
    return _NUMERIC_HOST.match(url) is not None


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, from its number or its date; None if it says neither.

    How much of it is granted is decided elsewhere (stages/downloading/failures.py). Source: RFC 9110, 10.2.3.
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
    """Return the size of a file by the headers of an answer that holds it, or the rest of it; None if it is unsaid.

    Source: RFC 9110, 8.6 (Content-Length) and 14.4 (Content-Range).
    """
    part = headers.get("Content-Range")
    text = (headers.get("Content-Length", "") if part is None else part.rpartition("/")[2]).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
