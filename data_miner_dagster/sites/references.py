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


def resolve_reference(text: str, *, is_secret: bool = True, asker: str = _ASKER) -> str:
    """Return the value that `env:NAME` or `file:PATH` refers to. Any other string is returned unchanged.

    Args:
        text: the reference.
        is_secret: whether to hide the value in all messages of this process.
        asker: the setting that contains the reference, to be named in the error message.

    Raises:
        ConfigError: the variable is not set, or the file cannot be read.
    """
    if not is_reference(text):
        return text
    kind, _, where = text.partition(":")
    if kind == "env":
        value = _from_environment(where, asker)
    else:
        try:
            value = Path(where).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"{where} cannot be read ({error.strerror}), but {asker} refers to it; check the path and its "
                "permissions"
            ) from None
    if is_secret:
        remember_secret(value)
    return value


def cookie_file_text(reference: str) -> str:
    """Return the text of a cookie file, and register the cookies' values as secrets.

    `reference` is `file:PATH`, or `env:NAME` for a variable that contains the path.

    Raises:
        ConfigError: the variable is not set, or the file cannot be read.
    """
    kind, _, where = reference.partition(":")
    path = Path(_from_environment(where) if kind == "env" else where).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the cookie file {path} cannot be read ({error.strerror}), but platform.downloading.cookies refers to it; "
            "check the path and its permissions"
        ) from None
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == 7:
            remember_secret(fields[6])
    return text


def expand_address(address: NetworkAddress) -> str:
    """Return the address to request, with each `{env:NAME}` in a user's own address replaced by the variable's value.

    The values are registered as secrets. A foreign address is always returned unchanged.

    Raises:
        ConfigError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        secret = _from_environment(match[1])
        remember_secret(secret)
        return secret

    match address:
        case OwnAddress(text):
            return _PLACEHOLDER.sub(value, text)
        case ForeignAddress(text):
            return text
