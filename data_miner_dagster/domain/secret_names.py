"""Typical names of secrets, used to refuse plain-text secrets and to redact them.

Belongs here: names. Does not belong here: the places to search for them (addresses.py, sites/redaction.py, config/).
"""

import re
from typing import Final

_WORDS: Final = (
    r"token|sig|signature|hmac|secret|passw|passwd|password|passphrase|pwd|key|keyid|auth|authorization|credential"
    r"|session|sessionid|cookie|jwt|bearer|ticket"
)
_JOINED: Final = (
    r"apikey|accesskey|authkey|secretkey|privatekey|signingkey|accesstoken|authtoken|idtoken|refreshtoken|potoken"
    r"|sessiontoken|sessionid|visitordata|clientsecret|setcookie"
)
_NAME: Final = re.compile(rf"(?:^|[-_.\s])(?:{_WORDS})s?(?:$|[-_.\s])|{_JOINED}", re.IGNORECASE)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[-_.\s]+")
_HARMLESS: Final = frozenset(
    {
        "assetkey",
        "foreignkey",
        "framekey",
        "keyerror",
        "partitionkey",
        "primarykey",
        "projectkey",
        "runkey",
        "sortkey",
        "videokey",
    }
)
"""Names that contain `key` but are not typical of a secret."""
_MAX_LENGTH: Final = 200


def is_secret_name(name: str) -> bool:
    """Return whether the name of a parameter, header, key or argument is typical of a secret, such as `X-Api-Key`.

    Words are separated by `-`, `_`, `.`, spaces and capital letters, so `keyword` and `monkey` do not contain `key`.
    """
    words = _CAMEL.sub("_", name[:_MAX_LENGTH])
    joined = _SEPARATORS.sub("", words)
    if joined.lower() in _HARMLESS:
        return False
    return _NAME.search(words) is not None or _NAME.search(joined) is not None
