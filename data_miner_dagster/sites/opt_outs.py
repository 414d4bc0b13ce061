"""Detect pages and file responses that opt out of automated use."""

import re
from html.parser import HTMLParser
from typing import Any, Final

from yt_dlp.networking.exceptions import RequestError

_OPT_OUT: Final = re.compile(r"\b(noai|noimageai|noindex|noimageindex|none)\b", re.IGNORECASE)
_META_NAMES: Final = frozenset({"robots", "data-miner", "tdm-reservation"})
_LOOKED_AT: Final = 200_000


class OptedOutError(RequestError):  # type: ignore[misc]
    """A page or file opts out of automated use with a directive, such as `robots: noai`."""

    def __init__(self, directive: str) -> None:
        super().__init__(
            f"the page or file opts out of automated use ({directive}), so it is not downloaded, as "
            "platform.downloading.politeness.respect_page_opt_outs requires"
        )


def opt_out_of(headers: Any, html: str = "") -> str | None:
    """Return the directive in a page or its headers that opts out of automated use, or None if there is none.

    Sources: the X-Robots-Tag directives that img2dataset honours (noai, noimageai, noindex, noimageindex), and the
    W3C's TDM Reservation Protocol. The directive `none`, which includes noindex, counts too. An X-Robots-Tag for a user
    agent other than data-miner does not count. In the first 200,000 characters of `html`, meta elements named robots,
    data-miner or tdm-reservation are examined as well.
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
    """Return the attributes of all meta elements as a browser would find them, with lower-case names and values."""
    parser = _MetaParser()
    # Not closed: on close, the parser retries from each `<` of unfinished markup, which takes quadratic time.
    # Browsers ignore unfinished markup too.
    parser.feed(html)
    return parser.found


class _MetaParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            first = dict(reversed(attrs))  # the first of several attributes with the same name counts
            self.found.append({name: (value or "").lower() for name, value in first.items()})

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Skip `<![...>`. The inherited method raises for unknown sections."""
        return self.parse_bogus_comment(i, report)
