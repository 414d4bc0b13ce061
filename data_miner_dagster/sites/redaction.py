"""Redact secrets in text for logs, messages, metadata and the catalog."""

import re
import urllib.parse
from typing import Final

from data_miner_dagster.domain.secret_names import is_secret_name
from data_miner_dagster.domain.secret_values import without_secrets

PUBLIC_QUERY_KEYS: Final = frozenset(
    {"v", "list", "id", "p", "page", "q", "video", "video_id", "clip", "index", "t", "search_query", "sp"}
)
"""Query keys that identify a video rather than sign or identify a request. The values of all others are hidden."""

_URL: Final = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\{env:\w+\}")
# Each pattern runs in linear time, because a name starts only at a name boundary and has a bounded length.
_NAME_AND_SIGN: Final = re.compile(r"(?<![\w.-])([A-Za-z][\w.-]{0,60})[\"']?\s{0,3}([:=])\s{0,3}")
_VALUE: Final = re.compile(
    r"\"[^\"\n]*\"?|'[^'\n]*'?"  # quoted
    r"|(?:bearer|basic|digest|token)\s{1,3}[^\s,;\"']+|[^\s,;\"'&]+",
    re.IGNORECASE,
)
_COOKIES: Final = re.compile(r"[^\s=;,]+=[^\s;]*(?:;\s?[^\s=;,]+=[^\s;]*)*")


_WORDS_OF_PROSE: Final = frozenset({"key", "keys", "session", "sessions", "ticket", "tickets", "cookies"})
"""Names of secrets that also occur in prose. Text after `=` is redacted, but text after a colon is kept, since it
is an explanation."""


def redact_url(url: str) -> str:
    """Remove the user, password and fragment from a URL, and replace query values that might be secrets with `***`.

    `{env:NAME}` is kept, since it is only the name of a secret. An invalid URL becomes `***`.
    """
    url = without_secrets(url)
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
    """Replace registered secrets, redact URLs, and replace the values that follow names of secrets with `***`.

    After a name that is also a word of prose, such as `key`, only a value after `=` is replaced, not one after a colon.
    """
    text = _URL.sub(lambda match: redact_url(match[0]), without_secrets(text))
    kept, end = [], 0
    for match in _NAME_AND_SIGN.finditer(text):
        name, sign = match[1], match[2]
        if match.start() < end or not is_secret_name(name) or (sign == ":" and name.lower() in _WORDS_OF_PROSE):
            continue
        value = (_COOKIES.match(text, match.end()) if "cookie" in name.lower() else None) or _VALUE.match(
            text, match.end()
        )
        if value is not None:
            kept += [text[end : match.end()], "***"]
            end = value.end()
    return "".join((*kept, text[end:]))
