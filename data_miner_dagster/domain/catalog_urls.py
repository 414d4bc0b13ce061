"""Validation and safe display of the catalog's database URL."""

import re
from typing import Final

EXAMPLES: Final = "sqlite:////folder/catalog.sqlite or postgresql+psycopg2://user:password@host:5432/database"

_NAME: Final = re.compile(r"(sqlite|postgresql)(\+\w+)?://")
_PORT: Final = re.compile(r"(?:[^@]*@)?(?:\[[^\]]*\]|[^/:?]*)(?::([^/?]*))?")


def problem_of_catalog_url(url: str) -> str | None:
    """Return what is wrong with a catalog URL's scheme or port, with a valid example, or None if both are valid."""
    begins = _NAME.match(url)
    if begins is None:
        return f"the catalog must be in SQLite or PostgreSQL; write {EXAMPLES}"
    port = _PORT.match(url, begins.end())
    if port is not None and port[1] and not port[1].isdecimal():
        return f"the port is not a number; write {EXAMPLES}"
    return None


def shown_catalog_url(url: str) -> str:
    """Return a catalog URL, valid or not, in quotes for display.

    Text between the scheme and '@', and text after '?', may be a password and is shown as `***`. If no '/' remains, the
    whole URL is shown as `***`.
    """
    before, at, rest = url.rpartition("@")
    head = re.match(r"[\w+]{0,30}:?//", before)
    rest, mark, _ = rest.partition("?")
    shown = f"{head[0] if head else ''}***@{rest}" if at else rest
    if "/" not in shown:
        return repr("***")
    return repr(f"{shown}?***" if mark else shown)
