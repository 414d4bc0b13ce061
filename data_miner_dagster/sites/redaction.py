"""Secrets kept out of logs, messages, metadata and the catalog."""

import re
import urllib.parse
from typing import Final

PUBLIC_QUERY_KEYS: Final = frozenset(
    {"v", "list", "id", "p", "page", "q", "video", "video_id", "clip", "index", "t", "search_query", "sp"}
)
"""Query keys that name a video rather than sign or identify a request; the values of all others are not shown."""

_URL: Final = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\{env:\w+\}")
_SECRET_HEADER: Final = re.compile(
    r"((?:authorization|cookie|set-cookie|x-[a-z-]*token|po_?token|visitor_?data|api[_-]?key|access_token|password)"
    r"\s*[:=]\s*)(?:(?:bearer|basic)\s+)?[^\s,;\"']+",
    re.IGNORECASE,
)


_MIN_SECRET_LENGTH: Final = 6
"""Shorter values would blot out ordinary words."""

_secrets: set[str] = set()


def remember_secret(value: str) -> None:
    """Have a value that was looked up by reference replaced wherever text is redacted in this process."""
    if len(value) >= _MIN_SECRET_LENGTH:
        _secrets.update((value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)))


def redact_url(url: str) -> str:
    """Return a URL without user and password, and with `***` for each query value that might be a secret.

    `{env:NAME}` is no secret, but the name of one, and stays.
    """
    for secret in _secrets:
        url = url.replace(secret, "***")
    try:
        parts = urllib.parse.urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "***"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    query = "&".join(
        item
        if (name := item.partition("=")[0]) in PUBLIC_QUERY_KEYS or _PLACEHOLDER.fullmatch(item.partition("=")[2])
        else (f"{name}=***" if "=" in item else "***")
        for item in parts.query.split("&")
        if item
    )
    return urllib.parse.urlunsplit((parts.scheme, f"{host}{port}", parts.path, query, ""))


def redact(text: str) -> str:
    """Return a text with the URLs in it redacted and the values behind names of secrets replaced by `***`."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    text = _URL.sub(lambda match: redact_url(match[0]), text)
    return _SECRET_HEADER.sub(r"\1***", text)
