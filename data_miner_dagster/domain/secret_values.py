"""Values that were looked up by reference in this process, and are kept out of the texts it shows.

Belongs here: the values. Does not belong here: what looks like a secret by its name (secret_names.py).
"""

import urllib.parse
from typing import Final

_MIN_LENGTH: Final = 6
"""Shorter values would blot out ordinary words."""

_secrets: set[str] = set()
_references: dict[str, str] = {}


def remember_secret(value: str) -> None:
    """Have a secret replaced wherever text is redacted in this process: in messages, and in addresses that are kept."""
    if len(value) >= _MIN_LENGTH:
        _secrets.update((value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)))


def without_secrets(text: str) -> str:
    """Return a text with `***` in place of every secret."""
    for secret in list(_secrets):
        text = text.replace(secret, "***")
    return text


def remember_reference(value: str, reference: str) -> None:
    """Have a value that a file refers to, such as `${oc.env:HOME}`, shown as that in messages.

    Only there: it need be no secret, and what is kept (provenance, manifests) says what was asked for.
    """
    if len(value) >= _MIN_LENGTH:
        for form in (value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)):
            _references[form] = reference


def with_references(text: str) -> str:
    """Return a message with references in place of the values that files refer to."""
    for value, reference in sorted(_references.items(), key=lambda pair: (-len(pair[0]), pair)):
        text = text.replace(value, reference)
    return text
