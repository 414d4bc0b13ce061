"""How a page, or the answer that carries a file, asks machines to leave it alone."""

import re
from html.parser import HTMLParser
from typing import Any, Final

from yt_dlp.networking.exceptions import RequestError

OPTED_OUT: Final = "the page opts out of machine use; politeness.respect_page_opt_outs is on"
_OPT_OUT: Final = re.compile(r"\b(noai|noimageai|noindex|noimageindex|none)\b", re.IGNORECASE)
_META_NAMES: Final = frozenset({"robots", "data-miner", "tdm-reservation"})
_LOOKED_AT: Final = 200_000


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
    for meta in _meta_elements(html[:_LOOKED_AT]):
        name, words = meta.get("name"), meta.get("content", "")
        if name == "tdm-reservation":
            if words.strip() == "1":
                return "tdm-reservation: 1"
        elif name in _META_NAMES and (found := _OPT_OUT.search(words)):
            return f"robots: {found[0]}"
    return None


def _meta_elements(html: str) -> list[dict[str, str]]:
    """Return the attributes of each meta element, names and values in lower case, as a browser would find them."""
    parser = _MetaParser()
    # Not closed: a parser that is told of the end tries again from each `<` of what is unfinished there, which takes
    # time that grows with the square of its length. So much of a page says nothing to a browser, either.
    parser.feed(html)
    return parser.found


class _MetaParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            first = dict(reversed(attrs))  # of two that have the same name the first counts
            self.found.append({name: (value or "").lower() for name, value in first.items()})

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Pass over `<![...>`, of which the inherited method raises what it does not know."""
        return self.parse_bogus_comment(i, report)
