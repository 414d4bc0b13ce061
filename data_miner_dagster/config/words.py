"""Check words, names and dates for hidden characters, and for values that YAML misreads, such as `no` as false.

Belongs here: checks that several sections share. Does not belong here: fields and ranges.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from data_miner_dagster.domain.foreign_text import hidden_character

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY_WITHOUT_HYPHENS: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")

_BREAKS: Final = ("Cc", "Zl", "Zp")
"""The Unicode categories of control characters, line separators and paragraph separators. Formats that store one name
per line would read a name with one of these characters as two names."""


def visible_text(text: str) -> str:
    """Return `text` unchanged after checking that no hidden character changes how it reads.

    Raises:
        ValueError: `text` contains a bidirectional or invisible character.
    """
    if problem := _hidden_in(text):
        raise ValueError(f"the text {problem}")
    return text


def _hidden_in(text: str) -> str:
    """Return the end of a sentence about a bidirectional or invisible character in `text`, or "" if there is none."""
    character = hidden_character(text)
    if character is None:
        return ""
    name = unicodedata.name(character, "a character without a name").lower()
    return f"contains the invisible character U+{ord(character):04X} ({name}), which changes how it reads; remove it"


def checked_names(content: Any) -> Any:
    """Return a mapping with whitespace stripped from its keys, and any other value unchanged.

    Raises:
        ValueError: a key is blank, is not text or contains a line break or a control or invisible character, or two
            keys differ only in case or surrounding whitespace.
    """
    if not isinstance(content, Mapping):
        return content
    written: dict[str, str] = {}
    for name in content:
        if not isinstance(name, str):
            raise ValueError(f"the name {_as_yaml(name)} is not text in YAML; put it in quotes")
        if not name.strip():
            raise ValueError("a name is empty; write one before the colon")
        if any(unicodedata.category(character) in _BREAKS for character in name.strip()):
            raise ValueError(f"the name {name!r} contains a line break or a control character; remove it")
        if problem := _hidden_in(name):
            raise ValueError(f"the name {name!r} {problem}")
        other = written.setdefault(name.strip().casefold(), name)
        if other != name:
            raise ValueError(f"{other!r} and {name!r} are the same name; keep one")
    return {name.strip(): value for name, value in content.items()}


def _as_yaml(value: object) -> str:
    """Return the YAML notation of a value that was read from YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def is_read_as_other(value: object) -> bool:
    """Return whether YAML read `value` as a number, a boolean, a date or null instead of text."""
    return value is None or isinstance(value, bool | int | float | date)


def _checked_day(value: object) -> object:
    if value is None or type(value) is date:
        return value
    if isinstance(value, str) and _DAY.fullmatch(value.strip()):
        return value.strip()
    bare = _DAY_WITHOUT_HYPHENS.fullmatch(str(value).strip()) if not isinstance(value, bool | datetime) else None
    example = "-".join(bare.groups()) if bare is not None else "2024-01-01"
    raise ValueError(f"must be a date: write it as {example}")


Day = Annotated[date, BeforeValidator(_checked_day)]
"""A date as YYYY-MM-DD. Numbers are refused, since pydantic would read them as seconds since 1970."""
