"""Addresses by who wrote them, which decides what may be read in them; and secrets in plain, which none may hold.

`{env:NAME}`, `~` and paths are a user's words. What a listing, feed, page, manifest or redirect says is foreign, and
is never anything but the name of something on the network. The two are types of their own, so that no function that
expands or opens can be given the wrong one. Belongs here: the types and what makes an address valid. Does not belong
here: what `{env:NAME}` stands for (sites/references.py), which hosts may be spoken to (sites/addresses.py).
"""

import re
import urllib.parse
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.secret_names import is_secret_name

MAX_FOREIGN_LENGTH: Final = 2000
"""A longer address is refused: no browser would send it either."""
_PLACEHOLDER: Final = re.compile(r"\{env:[A-Za-z_]\w*\}")
_MIN_SECRET_LENGTH: Final = 6
"""`key=3` is the name of something, and no secret."""
_HOST: Final = re.compile(r"[A-Za-z0-9._\-:\u0080-\U0010ffff]+")
_OF_EXTRACTOR: Final = re.compile(
    r"(?!(?:file|data|ftp|javascript|about|rtmp\w*|wss?)(?::|$))[A-Za-z0-9][^\s{}\\\x00-\x1f]*", re.IGNORECASE
)
_UNSEEN: Final = re.compile("[{}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_LINE_BREAKS: Final = re.compile("[\t\n\r]")  # which browsers leave out of an address, wherever they stand
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class AddressError(ValueError):
    """A foreign address cannot be taken; `str(error)` says why in one line, without the address."""


class Origin(StrEnum):
    """Who says where a video is. Values are stored."""

    LOCAL = "local"  # a path that a source of the user's found
    OWN = "own"  # an address as the user wrote it
    FOREIGN = "foreign"  # what a listing, feed or page says


@dataclass(frozen=True, slots=True)
class LocalPath:
    """An absolute path on this machine that one of the user's sources found."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address as a user wrote it; `{env:NAME}` in it stands for a variable."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ForeignAddress:
    """An address that somebody else wrote: http or https with a host and a valid port, braces percent-encoded.

    Or a name such as `wistia:abc` that one extractor gives to another (`of_extractor`): nothing else knows it.

    Raises:
        AddressError: it is neither.
    """

    text: str

    def __post_init__(self) -> None:
        if self.is_http:
            if problem := problem_of_address(self.text):
                raise AddressError(problem)
        elif not _OF_EXTRACTOR.fullmatch(self.text):
            raise AddressError("it is no http or https address")
        if len(self.text) > MAX_FOREIGN_LENGTH:
            raise AddressError(f"it has more than {MAX_FOREIGN_LENGTH} characters")
        if _UNSEEN.search(self.text) or _FORBIDDEN.search(self.text):
            raise AddressError("it holds characters that no address may hold")

    @classmethod
    def parse(cls, text: str) -> "ForeignAddress":
        """Return the http or https address that a stranger's text is; what cannot be seen in it is percent-encoded.

        Raises:
            AddressError: it is none.
        """
        if len(text) > MAX_FOREIGN_LENGTH:
            raise AddressError(f"it has more than {MAX_FOREIGN_LENGTH} characters")
        if not _is_http(text.strip()):
            raise AddressError("it is no http or https address")
        return cls._encoded(text)

    @classmethod
    def of_extractor(cls, text: str) -> "ForeignAddress":
        """Return an address that an extractor of a known site names: http, https, or a name it has for itself.

        Raises:
            AddressError: it is a path, or of a scheme that reads files.
        """
        return cls._encoded(text)

    @classmethod
    def _encoded(cls, text: str) -> "ForeignAddress":
        text = _LINE_BREAKS.sub("", text.strip())
        if _FORBIDDEN.search(text):
            raise AddressError("it holds control characters")
        return cls(_UNSEEN.sub(lambda match: urllib.parse.quote(match[0]), text))

    @property
    def is_http(self) -> bool:
        """Whether it is an address of the web, and not a name of an extractor."""
        return _is_http(self.text)

    def __str__(self) -> str:
        return self.text


NetworkAddress = OwnAddress | ForeignAddress
"""What may be asked for over the network."""


def address_of(origin: Origin, text: str) -> LocalPath | OwnAddress | ForeignAddress:
    """Return an address by who wrote it.

    Raises:
        AddressError: a foreign one that cannot be taken.
    """
    match origin:
        case Origin.LOCAL:
            return LocalPath(text)
        case Origin.OWN:
            return OwnAddress(text)
        case Origin.FOREIGN:
            return ForeignAddress(text)


def host_of(text: str) -> str:
    """Return the host of an address, empty if it has none."""
    try:
        return urllib.parse.urlsplit(text).hostname or ""
    except ValueError:
        return ""


def problem_of_address(text: str) -> str | None:
    """Return why an http or https address cannot be asked for, None if it can.

    It may have no host, no such port or no such name, or be longer than what is taken of anybody.
    """
    if len(text) > MAX_FOREIGN_LENGTH:
        return f"it has more than {MAX_FOREIGN_LENGTH} characters"
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"it is malformed ({clean_text(str(error), 100)})"
    if not host:
        return "it names no host"
    if not _HOST.fullmatch(host):
        return "its host is malformed"
    try:
        host.encode("idna")
    except UnicodeError:
        return "its host is malformed"
    return None


def secret_in_address(address: str) -> str | None:
    """Return what in an address looks like a secret in plain: `parameter 'token'`, `a password`; None if nothing does.

    `{env:NAME}` in its place is none.
    """
    try:
        parts = urllib.parse.urlsplit(address.strip())
        password = parts.password
    except ValueError:
        return None
    if password and not _PLACEHOLDER.fullmatch(password):
        return "a password"
    for text in (parts.query, parts.fragment):
        for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
            is_secret = len(value) >= _MIN_SECRET_LENGTH and _PLACEHOLDER.search(value) is None
            if is_secret and is_secret_name(name):
                return f"parameter {clean_text(name, 60)!r}"
    return None


def advice_for(secret: str) -> str:
    """Return the sentence that refuses an address with such a secret and says what to write instead."""
    return (
        f"holds {secret} in plain, which would be kept in the catalog: write {{env:NAME}} in its place and set the "
        "environment variable NAME"
    )


def _is_http(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))
