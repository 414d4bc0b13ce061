"""How a page, or the answer that carries a file, asks machines to leave it alone."""

import re
from collections.abc import Iterator
from typing import Any, Final

from yt_dlp.networking.exceptions import RequestError

OPTED_OUT: Final = "the page opts out of machine use; politeness.respect_page_opt_outs is on"
_OPT_OUT: Final = re.compile(r"\b(noai|noimageai|noindex|noimageindex|none)\b", re.IGNORECASE)
_META_NAMES: Final = frozenset({"robots", "data-miner", "tdm-reservation"})
_LOOKED_AT: Final = 200_000
_LONGEST_META: Final = 2_000


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
    for meta in _meta_elements(html[:_LOOKED_AT].lower()):
        name, words = meta.get("name"), meta.get("content", "")
        if name == "tdm-reservation":
            if words.strip() == "1":
                return "tdm-reservation: 1"
        elif name in _META_NAMES and (found := _OPT_OUT.search(words)):
            return f"robots: {found[0]}"
    return None


def _meta_elements(html: str) -> Iterator[dict[str, str]]:
    """Yield the attributes of each meta element. Each character is looked at once, however broken the page is."""
    position = 0
    while (start := html.find("<meta", position)) >= 0:
        position = start + len("<meta")
        end = html.find(">", position, position + _LONGEST_META)
        if end >= 0 and html[position].isspace():
            yield _attributes(html[position:end])
            position = end


def _attributes(text: str) -> dict[str, str]:
    """Return the attributes of an element by name, from what stands between its name and its end."""
    found: dict[str, str] = {}
    position, end = 0, len(text)
    while (equals := text.find("=", position)) >= 0:
        names = text[position:equals].split()
        start = equals + 1
        while start < end and text[start].isspace():
            start += 1
        if start < end and text[start] in "\"'":
            stop = text.find(text[start], start + 1)
            stop = end if stop < 0 else stop
            value, position = text[start + 1 : stop], stop + 1
        else:
            stop = start
            while stop < end and not text[stop].isspace():
                stop += 1
            value, position = text[start:stop], stop
        if names:
            found.setdefault(names[-1], value)
    return found
