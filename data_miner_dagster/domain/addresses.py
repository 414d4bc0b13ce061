"""What an address gives away: secrets in plain that belong into neither a configuration nor the catalog."""

import re
import urllib.parse
from typing import Final

_SECRET_NAME: Final = re.compile(
    r"(^|[-_.])(token|sig|signature|hmac|secret|password|passwd|pwd|key|auth|credential|session|jwt)s?($|[-_.])"
    r"|apikey|accesskey|authkey|sessionid|accesstoken",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(r"\{env:[A-Za-z_]\w*\}")
_MIN_SECRET_LENGTH: Final = 6
"""`key=3` is the name of something, and no secret."""


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
            if is_secret and _SECRET_NAME.search(name):
                return f"parameter {name!r}"
    return None


def advice_for(secret: str) -> str:
    """Return the sentence that refuses an address with such a secret and says what to write instead."""
    return (
        f"holds {secret} in plain, which would be kept in the catalog: write {{env:NAME}} in its place and set the "
        "environment variable NAME"
    )
