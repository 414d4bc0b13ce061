"""Values that were looked up by reference in this process, and are kept out of every text it shows.

Belongs here: the values. Does not belong here: what looks like a secret by its name (secret_names.py).
"""

import urllib.parse
from typing import Final

_MIN_LENGTH: Final = 6
"""Shorter values would blot out ordinary words."""

_shown_as: dict[str, str] = {}


def remember_secret(value: str, shown_as: str = "***") -> None:
    """Have a value replaced wherever text is redacted in this process."""
    if len(value) >= _MIN_LENGTH:
        for spelling in (value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)):
            _shown_as.setdefault(spelling, shown_as)


def without_secret_values(text: str) -> str:
    """Return a text with every remembered value replaced by what it is shown as."""
    for value, shown in list(_shown_as.items()):
        text = text.replace(value, shown)
    return text
