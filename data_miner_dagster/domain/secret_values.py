"""Values that this process has looked up by reference. In messages, `***` or the reference replaces them.

Belongs here: registering and replacing the values. Does not belong here: recognizing secrets by name (secret_names.py).
"""

import urllib.parse
from typing import Final

_MIN_LENGTH: Final = 6
"""The length of the shortest value to replace. Replacing shorter values would also hide ordinary words."""

_secrets: set[str] = set()
_references: dict[str, str] = {}


def remember_secret(value: str) -> None:
    """Register a secret, which this process then replaces in messages and in stored addresses.

    Values of fewer than six characters are ignored.
    """
    if len(value) >= _MIN_LENGTH:
        _secrets.update((value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)))


def without_secrets(text: str) -> str:
    """Return a string with `***` in place of every registered secret."""
    for secret in list(_secrets):
        text = text.replace(secret, "***")
    return text


def remember_reference(value: str, reference: str) -> None:
    """Register a value that messages show as the reference that it came from, such as `${oc.env:HOME}`.

    Only messages are changed. The value need not be secret, and stored text (provenance, manifests) keeps it. Values of
    fewer than six characters are ignored.
    """
    if len(value) >= _MIN_LENGTH:
        for form in (value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)):
            _references[form] = reference


def with_references(text: str) -> str:
    """Return a message with each registered value replaced by its reference."""
    for value, reference in sorted(_references.items(), key=lambda pair: (-len(pair[0]), pair)):
        text = text.replace(value, reference)
    return text
