"""Sanitization of foreign text and numbers, once on input and once on output.

Belongs here: the allowed characters, lengths and numbers. Does not belong here: escaping for one format (export/).
"""

import math
import re
from typing import Final

MAX_LINE: Final = 5000
"""The maximum number of characters in one field. The rest is cut off."""
MAX_TAGS: Final = 200
MAX_TAG_LENGTH: Final = 200
MAX_COUNT: Final = 2**63 - 1
MAX_PIXELS_A_SIDE: Final = 2**31 - 1
"""The largest number that an integer column of the catalog can store."""

_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Excludes U+200C and U+200D, which join letters in Persian and in many emoji.
_INVISIBLE: Final = "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
_CONTROLS: Final = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # excludes whitespace controls: they separate words
_DROPPED: Final = re.compile(f"[{_CONTROLS}{_BIDI}{_INVISIBLE}]")
_HIDDEN: Final = re.compile(f"[{_BIDI}{_INVISIBLE}]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNPRINTABLE: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_BIDI}{_INVISIBLE}\ud800-\udfff]")


def clean_text(value: object, max_length: int = MAX_LINE) -> str | None:
    """Return foreign text as one line without control, bidi or invisible characters, cut to `max_length`.

    Lone surrogates are replaced. Numbers are converted to text. The result is None for booleans and any other type, for
    integers beyond `MAX_COUNT`, and if no characters remain.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) > MAX_COUNT:
        return None  # Python refuses to write out more than 4,300 digits
    text = str(value)[: 4 * max_length]  # spaces may be removed, so read more than `max_length`
    text = _SURROGATE.sub("\ufffd", _DROPPED.sub("", text))
    return " ".join(text.split())[:max_length].rstrip() or None


def clean_texts(values: object) -> tuple[str, ...]:
    """Return at most `MAX_TAGS` cleaned strings from a foreign list or tuple, or an empty tuple for any other value."""
    if not isinstance(values, list | tuple):
        return ()
    cleaned = (clean_text(value, MAX_TAG_LENGTH) for value in values[: 2 * MAX_TAGS])
    return tuple(text for text in cleaned if text is not None)[:MAX_TAGS]


def clean_number(value: object) -> float | None:
    """Return a foreign number as a float, or None if it is not a finite number or is an integer beyond `MAX_COUNT`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > MAX_COUNT:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def clean_whole(value: object, maximum: int = MAX_COUNT) -> int | None:
    """Return a foreign number from 0 to `maximum`, rounded down to a whole number, or None for anything else."""
    number = clean_number(value)
    if number is None or not 0 <= number <= maximum:
        return None
    return value if isinstance(value, int) else int(number)


def hidden_character(text: str) -> str | None:
    """Return the first bidi or invisible character in a string, or None if there is none.

    Bidi and invisible characters can make a string look different from its actual content.
    """
    found = _HIDDEN.search(text)
    return None if found is None else found[0]


def printable(text: str) -> str:
    r"""Return text that is safe to print: each control or invisible character becomes an escape such as `\u001b`.

    Line feeds and tabs are kept. All printed text passes through this function, since text from an old catalog, a file
    name or a library's message may contain characters that a terminal acts on. JSON stays valid JSON.
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        if code > 0xFFFF:  # a surrogate pair, as in JSON
            code -= 0x10000
            return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
        return f"\\u{code:04x}"

    return _UNPRINTABLE.sub(escape, text)
