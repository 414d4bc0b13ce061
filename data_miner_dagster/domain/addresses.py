"""Address types that record who wrote an address, and the detection of plain-text secrets in addresses.

The author of an address determines how it may be read. Only a user's own words may contain `{env:NAME}`, `~` or paths.
Text from a listing, feed, page, manifest or redirect is foreign and can only name something on the network. Separate
types ensure that code which expands or opens addresses cannot receive the wrong kind.

Belongs here: the types, and the validity of addresses. Does not belong here: expanding `{env:NAME}`
(sites/references.py), and deciding which hosts may be contacted (sites/addresses.py).
"""

import re
import urllib.parse
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.object_urls import ObjectUrl
from data_miner_dagster.domain.secret_names import is_secret_name

MAX_FOREIGN_LENGTH: Final = 2000
"""The maximum number of characters in a foreign address. Longer ones do not work in every browser either."""
_PLACEHOLDER: Final = re.compile(r"\{env:[A-Za-z_]\w*\}")
_MIN_SECRET_LENGTH: Final = 6
"""Values with fewer characters, such as `key=3`, are identifiers rather than secrets."""
_HOST: Final = re.compile(r"[A-Za-z0-9._\-:\u0080-\U0010ffff]+")
_OF_EXTRACTOR: Final = re.compile(
    r"(?!(?:file|data|ftp|javascript|about|rtmp\w*|wss?|s3\w?|gs|gcs|az|abfss?|adl|hf)(?::|$))"
    r"[A-Za-z0-9][^\s{}\\\x00-\x1f]*",
    re.IGNORECASE,
)
_YOUTUBE: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})
_UNSEEN: Final = re.compile("[{}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_LINE_BREAKS: Final = re.compile("[\t\n\r]")  # browsers remove these anywhere in an address
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class AddressError(ValueError):
    """An address cannot be accepted. `str(error)` gives the reason on one line, without the address."""


class Origin(StrEnum):
    """The origin of a video's address. Values are stored."""

    LOCAL = "local"  # a path found by one of the user's sources
    OBJECT = "object"  # in a bucket that one of the user's sources names
    OWN = "own"  # an address as the user wrote it
    FOREIGN = "foreign"  # from a listing, feed or page

    @property
    def is_of_site(self) -> bool:
        """True if the video is requested from a site, so that the limits for sites apply."""
        return self in (Origin.OWN, Origin.FOREIGN)


@dataclass(frozen=True, slots=True)
class LocalPath:
    """An absolute path on this machine that one of the user's sources found."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address as a user wrote it; `{env:NAME}` in it refers to an environment variable."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ForeignAddress:
    """An address from a third party: a web address, or a name such as `wistia:abc` that is internal to extractors.

    A web address is http or https with a host and, if given, a valid port. Extractors pass names to one another.

    Raises:
        AddressError: the text is neither a web address nor a name of this form, is too long, or contains characters
            that are not allowed, such as braces that are not percent-encoded.
    """

    text: str

    def __post_init__(self) -> None:
        if self.is_http:
            if problem := problem_of_address(self.text):
                raise AddressError(problem)
        elif not _OF_EXTRACTOR.fullmatch(self.text):
            raise AddressError("the address is neither http nor https")
        if len(self.text) > MAX_FOREIGN_LENGTH:
            raise AddressError(f"the address has more than {MAX_FOREIGN_LENGTH} characters")
        if _UNSEEN.search(self.text) or _FORBIDDEN.search(self.text):
            raise AddressError(
                "the address contains control characters, or braces or invisible characters that are not "
                "percent-encoded"
            )

    @classmethod
    def parse(cls, text: str) -> "ForeignAddress":
        """Return foreign text as an http or https address, with braces and invisible characters percent-encoded.

        Raises:
            AddressError: the text is too long, contains control characters, or is not a valid http or https address.
        """
        if len(text) > MAX_FOREIGN_LENGTH:
            raise AddressError(f"the address has more than {MAX_FOREIGN_LENGTH} characters")
        if not _is_http(text.strip()):
            raise AddressError("the address is neither http nor https")
        return cls._encoded(text)

    @classmethod
    def of_extractor(cls, text: str) -> "ForeignAddress":
        """Return an address from an extractor of a known site: http, https, or a name internal to extractors.

        Raises:
            AddressError: the text is a path, is too long, has a malformed host or port or a scheme that is not allowed,
                or contains control characters.
        """
        return cls._encoded(text)

    @classmethod
    def _encoded(cls, text: str) -> "ForeignAddress":
        text = _LINE_BREAKS.sub("", text.strip())
        if _FORBIDDEN.search(text):
            raise AddressError("the address contains control characters")
        return cls(_UNSEEN.sub(lambda match: urllib.parse.quote(match[0]), text))

    @property
    def is_http(self) -> bool:
        """True if this is a web address, False if it is a name that is internal to extractors."""
        return _is_http(self.text)

    def __str__(self) -> str:
        return self.text


NetworkAddress = OwnAddress | ForeignAddress
"""An address that may be requested over the network."""


def address_of(origin: Origin, text: str) -> LocalPath | ObjectUrl | OwnAddress | ForeignAddress:
    """Return an address as the type that matches its origin.

    Raises:
        AddressError: a foreign address cannot be accepted, or an object's address is malformed.
    """
    match origin:
        case Origin.OBJECT:
            try:
                return ObjectUrl.parse(text)
            except ValueError as error:
                raise AddressError(str(error)) from None
        case Origin.LOCAL:
            return LocalPath(text)
        case Origin.OWN:
            return OwnAddress(text)
        case Origin.FOREIGN:
            return ForeignAddress(text)


def host_of(text: str) -> str:
    """Return the host of an address, or an empty string if the address has no host or is malformed."""
    try:
        return urllib.parse.urlsplit(text).hostname or ""
    except ValueError:
        return ""


def problem_of_address(text: str) -> str | None:
    """Return the reason why an http or https address cannot be requested, or None if it can be.

    Possible reasons are a missing or malformed host, an invalid port, and excessive length.
    """
    if len(text) > MAX_FOREIGN_LENGTH:
        return f"the address has more than {MAX_FOREIGN_LENGTH} characters"
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"the address is malformed ({clean_text(str(error), 100)})"
    if not host:
        return "the address has no host"
    if not _HOST.fullmatch(host):
        return "the host is malformed"
    try:
        host.encode("idna")
    except UnicodeError:
        return "the host is malformed"
    return None


def secret_in_address(address: str) -> str | None:
    """Return a description of a plain-text secret in an address, or None if it seems to have none or is malformed.

    Examples are `parameter 'token'` and `a password`. The placeholder `{env:NAME}` is not a secret.
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
    """Return the end of a message about an address that contains `secret`. It says what to write instead.

    `secret` is a description from `secret_in_address`.
    """
    return (
        f"contains {secret} in plain text, which would be stored in the catalog; write {{env:NAME}} instead, and set "
        "the environment variable NAME"
    )


def _is_http(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def address_at(url: str, pts_seconds: float) -> str:
    """Return a video's web address with a start time in whole seconds. Any other text is returned unchanged."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url
    if parts.scheme not in ("http", "https"):
        return url
    second = int(pts_seconds)
    if parts.hostname in _YOUTUBE:
        return f"{url}{'&' if parts.query else '?'}t={second}s"
    return f"{url}#t={second}"  # a media fragment, which browsers understand
