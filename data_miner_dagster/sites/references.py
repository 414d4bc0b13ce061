"""Resolve references to secrets (`env:NAME` and `file:PATH`) when needed, and remember their values for redaction."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from data_miner_dagster.config.downloading import is_reference
from data_miner_dagster.domain.addresses import ForeignAddress, NetworkAddress, OwnAddress
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.secret_values import remember_secret

_ASKER: Final = "platform.downloading"
_COOKIES: Final = "platform.downloading.cookies"
_PLACEHOLDER: Final = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


_provided: dict[str, str] = {}


def provide(variables: Mapping[str, str]) -> None:
    """Make references in this process use `variables` in preference to the environment.

    The new variables replace those from an earlier call.
    """
    _provided.clear()
    _provided.update(variables)


def _from_environment(name: str, asker: str = _ASKER) -> str:
    value = _provided.get(name) or os.environ.get(name)
    if not value:
        raise ConfigError(f"environment variable {name} is not set or is empty, but {asker} refers to it; set it")
    return value


def _from_file(path: Path, asker: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{path} cannot be read ({reason}), but {asker} refers to it; check the file and its permissions"
        ) from None


def resolve_reference(text: str, *, is_secret: bool = True, asker: str = _ASKER) -> str:
    """Return the value that `env:NAME` or `file:PATH` refers to. Any other string is returned unchanged.

    White space around the text of a file is removed.

    Args:
        text: the reference.
        is_secret: whether to hide the value in all messages of this process.
        asker: the setting that contains the reference, to be named in the error message.

    Raises:
        ConfigError: the variable is not set or is empty, or the file cannot be read.
    """
    if not is_reference(text):
        return text
    kind, _, where = text.partition(":")
    value = _from_environment(where, asker) if kind == "env" else _from_file(Path(where).expanduser(), asker).strip()
    if is_secret:
        remember_secret(value)
    return value


def cookie_file_text(reference: str) -> str:
    """Return the text of a cookie file, and register the cookies' values as secrets.

    `reference` is `file:PATH`, or `env:NAME` for a variable that contains the path.

    Raises:
        ConfigError: the variable is not set or is empty, or the file cannot be read.
    """
    kind, _, where = reference.partition(":")
    path = Path(_from_environment(where, _COOKIES) if kind == "env" else where).expanduser()
    text = _from_file(path, _COOKIES)
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == 7:
            remember_secret(fields[6])
    return text


def expand_address(address: NetworkAddress) -> str:
    """Return the address to request, with each `{env:NAME}` in a user's own address replaced by the variable's value.

    The values are registered as secrets. A foreign address is always returned unchanged.

    Raises:
        ConfigError: a variable is not set or is empty.
    """

    def value(match: re.Match[str]) -> str:
        secret = _from_environment(match[1], "an address")
        remember_secret(secret)
        return secret

    match address:
        case OwnAddress(text):
            return _PLACEHOLDER.sub(value, text)
        case ForeignAddress(text):
            return text
