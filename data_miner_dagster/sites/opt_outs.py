"""How a page, or the answer that carries a file, asks machines to leave it alone."""

import re
from typing import Any, Final

from yt_dlp.networking.exceptions import RequestError

OPTED_OUT: Final = "the page opts out of machine use; politeness.respect_page_opt_outs is on"
_OPT_OUT: Final = re.compile(r"\b(noai|noimageai|noindex|noimageindex|none)\b", re.IGNORECASE)
_ROBOTS_META: Final = re.compile(
    r"<meta\s[^>]*name\s*=\s*[\"']?(?P<name>robots|data-miner|tdm-reservation)[\"'\s][^>]*>", re.IGNORECASE
)
_META_CONTENT: Final = re.compile(r"content\s*=\s*[\"']?(?P<content>[^\"'>]*)", re.IGNORECASE)


class OptedOutError(RequestError):  # type: ignore[misc]
    """A page asks machines to leave it alone."""


def opt_out_of(headers: Any, html: str = "") -> str | None:
    """Return the words with which a page, or its headers, asks machines to leave it alone; None if it does not.

    Source: the directives that img2dataset honours (X-Robots-Tag noai, noimageai, noindex, noimageindex), the same in
    a robots meta element, and the W3C's TDM Reservation Protocol.
    """
    for name, value in headers.items():
        if name.lower() == "tdm-reservation" and value.strip() == "1":
            return "tdm-reservation: 1"
        if name.lower() == "x-robots-tag":
            agent, colon, rest = value.partition(":")
            directives = rest if colon and agent.strip().lower() == "data-miner" else "" if colon else value
            if found := _OPT_OUT.search(directives):
                return f"X-Robots-Tag: {found[0]}"
    for meta in _ROBOTS_META.finditer(html[:200_000]):
        content = _META_CONTENT.search(meta[0])
        words = content["content"] if content else ""
        if meta["name"].lower() == "tdm-reservation":
            if words.strip() == "1":
                return "tdm-reservation: 1"
        elif found := _OPT_OUT.search(words):
            return f"robots: {found[0]}"
    return None
