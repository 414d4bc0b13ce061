"""Parse requests: JSON bodies of limited size, project names in URL paths, and enum values."""

import json
from enum import StrEnum
from typing import Any, Final, TypeVar

from starlette.requests import Request

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import check_project_name

MAX_BODY_BYTES: Final = 1_000_000

_Word = TypeVar("_Word", bound=StrEnum)


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        ConfigError: the body is too large, or is not a JSON object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ConfigError(f"the request is larger than {MAX_BODY_BYTES:,} bytes; send fewer answers in one request")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError("the request is not a JSON object; send one as application/json")
    return content


def project_of(request: Request) -> str:
    """Return the name of the project in a request's address.

    Raises:
        ConfigError: the name is not valid for a project.
    """
    return check_project_name(request.path_params["project"])


def word_of(words: type[_Word], text: str) -> _Word:
    """Return the member of an enum that has the value `text`.

    Raises:
        ConfigError: no member has this value.
    """
    try:
        return words(text)
    except ValueError:
        raise ConfigError(f"{text!r} in the address is not valid; use one of {', '.join(words)}") from None
