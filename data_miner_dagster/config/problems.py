"""Convert pydantic's validation errors to one line that gives the file's author the keys, values and remedies.

Belongs here: the wording of these lines. Does not belong here: reading files (config/loading.py).
"""

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from data_miner_dagster.config.words import is_read_as_other
from data_miner_dagster.domain.catalog_urls import shown_catalog_url
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.secret_names import is_secret_name

Location = tuple[int | str, ...]

MAX_PROBLEMS: Final = 3
_MAX_DESCRIBED: Final = 100
"""The maximum number of problems to describe for one file."""
_MAX_VALUE_LENGTH: Final = 60
_MAY_HOLD_A_PASSWORD: Final = frozenset({"proxy", "catalog_url", "targets"})
_USER_IN_ADDRESS: Final = re.compile(r"://[^/\s]*@")
_A_LIST: Final = "a list, one entry per line, each after '- '"
_A_MAPPING: Final = "a mapping of keys to values"
_WANTED_BY_KIND: Final[Mapping[str, str]] = {
    "tuple_type": _A_LIST,
    "list_type": _A_LIST,
    "model_type": _A_MAPPING,
    "model_attributes_type": _A_MAPPING,
    "dict_type": _A_MAPPING,
    "mapping_type": _A_MAPPING,
}
"""The description of the expected value, by pydantic's error type."""


def describe_problems(error: ValidationError, model: type[BaseModel], unresolved: object, prefix: str = "") -> str:
    """Describe up to three problems on one line, each with its dotted key, value and remedy, and count the rest.

    Unknown keys come first.

    Args:
        error: the error raised by validating `model`.
        model: the model that was validated.
        unresolved: the file's content before interpolation, which is shown instead of values from the environment.
        prefix: the text to put before every key, such as "platform.".
    """
    errors = sorted(error.errors(include_url=False), key=lambda details: details["type"] != "extra_forbidden")
    # If the only entry of a list is wrong, pydantic also reports the list as too short. Show only the entry's problem.
    inner = {details["loc"][:depth] for details in errors for depth in range(len(details["loc"]))}
    outer = [details for details in errors if details["loc"] not in inner]
    misspelt = {location for details in outer for location in _meant(details, model)}
    outer = [details for details in outer if details["type"] != "missing" or details["loc"] not in misspelt]
    shown = list(dict.fromkeys(_describe(details, model, unresolved, prefix) for details in outer[:_MAX_DESCRIBED]))
    num_more = len(shown) - MAX_PROBLEMS + max(0, len(outer) - _MAX_DESCRIBED)
    more = f"; and {num_more} more" if num_more > 0 else ""
    return "; ".join(shown[:MAX_PROBLEMS]) + more


def stored_misfit(path: Path, error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Return the message for stored settings of the platform that do not fit this version.

    Args:
        path: the file in the root that contains the settings.
        error: the error raised by validating `model`.
        model: the model that was validated.
        prefix: the text to put before every key, such as "extraction.".
    """
    return (
        f"{path} does not fit this version ({describe_problems(error, model, None, prefix)}); correct the file, or "
        "remove it if the settings of the platform have not changed since the last run"
    )


def _meant(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Location]:
    """Yield the location of the known key that an unknown key resembles, if any.

    The known key is probably misspelt rather than missing, and is not reported as missing.
    """
    if details["type"] == "extra_forbidden":
        _, owner, _ = _locate(model, details["loc"])
        for close in _closest(str(details["loc"][-1]), list(owner.model_fields) if owner is not None else []):
            yield *details["loc"][:-1], close


def _closest(word: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, known, n=1, cutoff=0.6)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that suggests the closest known word, or lists all known words if none is close."""
    close = _closest(word, known)
    return f"; did you mean {close[0]!r}?" if close else f"; use one of {', '.join(sorted(known))}"


def _describe(details: ErrorDetails, model: type[BaseModel], unresolved: object, prefix: str) -> str:
    located, owner, field_doc = _locate(model, details["loc"])
    location = _as_written(located, unresolved)
    key = prefix + _dotted(location)
    kind = details["type"]
    if kind == "extra_forbidden":
        parent = prefix + _dotted(location[:-1])
        where = f" in {parent.rstrip('.')}" if parent else ""
        known = list(owner.model_fields) if owner is not None else []
        return f"the key {str(location[-1])!r}{where} is unknown{did_you_mean(str(location[-1]), known)}"
    if kind == "missing":
        return f"{key} is missing{f': {_first_sentence(field_doc)}' if field_doc else ''}"
    if kind == "union_tag_not_found":
        return f"{key}.type is missing; use one of {', '.join(_tags_at(model, details['loc']))}"
    if kind == "union_tag_invalid":
        tags = re.findall(r"'([^']+)'", str(details["ctx"]["expected_tags"]))
        tag = str(details["ctx"]["tag"])
        return f"{key}.type is {tag!r}{did_you_mean(tag, tags)}"
    if kind in ("too_short", "too_long"):
        return f"{key} has {_wrong_length(details)}{f': {_first_sentence(field_doc)}' if field_doc else ''}"
    value = _shown_value(location, details["input"], unresolved)
    if kind == "literal_error":
        allowed = re.findall(r"'([^']+)'", str(details["ctx"]["expected"]))
        suggestion = did_you_mean(str(details["input"]), allowed) if allowed else f": {_lower(details['msg'])}"
        return f"{key} is {value}{suggestion}"
    if kind == "string_type":
        has_quotes = details["input"] is not None and is_read_as_other(details["input"])
        return f"{key} is {value}; it must be text{': put it in quotes' if has_quotes else ''}"
    if kind in _WANTED_BY_KIND:
        return f"{key or 'the file'} is {value}; it must be {_WANTED_BY_KIND[kind]}"
    message = _lower(details["msg"])
    if kind == "value_error" and isinstance(details["input"], (Mapping, list, tuple)):
        return f"{key}{': ' if key else ''}{message}"
    return f"{key or 'the file'} is {value}{'; it ' if message.startswith('must ') else ': '}{message}"


def _wrong_length(details: ErrorDetails) -> str:
    length, context = details["ctx"]["actual_length"], details["ctx"]
    if details["type"] == "too_short":
        return f"{counted(length, 'entry', 'entries')} but needs at least {context['min_length']}"
    return f"{counted(length, 'entry', 'entries')} but may have at most {context['max_length']}"


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("\n", " ").strip()
    message = re.sub(r"^Input should be ", "must be ", message)
    return message[:1].lower() + message[1:]


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[^.])\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0].rstrip(".")


def _dotted(location: Location) -> str:
    return ".".join(_USER_IN_ADDRESS.sub("://***@", str(part)) for part in location)


def _shown_value(location: Location, value: object, unresolved: object) -> str:
    """Return a value in a form that is safe to show, without secrets or values from the environment."""
    for part in location:
        if isinstance(unresolved, Mapping):
            unresolved = unresolved.get(part)
        elif isinstance(unresolved, Sequence) and not isinstance(unresolved, str) and isinstance(part, int):
            unresolved = unresolved[part] if part < len(unresolved) else None
        else:
            unresolved = None
    if isinstance(unresolved, str) and "${" in unresolved:
        return f"'{unresolved}' (interpolated)"
    if location[-1:] == ("catalog_url",) and isinstance(value, str):
        return shown_catalog_url(value)
    if any(isinstance(part, str) and (is_secret_name(part) or part in _MAY_HOLD_A_PASSWORD) for part in location):
        return "a value that is not shown"
    if isinstance(value, str) and _USER_IN_ADDRESS.search(value):  # a password may follow the user's name
        return "a value that is not shown"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = "empty" if value is None else repr(value)
    text = text.replace("\n", " ")
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."


def _locate(model: type[BaseModel], location: Location) -> tuple[Location, type[BaseModel] | None, str]:
    """Return a location as the user wrote it, with the model that owns its last key, and the key's description.

    Parts of `location` that are not keys in the file are removed: pydantic adds the tag of a discriminated union, and
    the chosen member of a plain union.
    """
    written: list[int | str] = []
    owner: type[BaseModel] | None = model
    at: Any = model
    doc = ""
    for part in location:
        options = _unwrapped(at)
        models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        with_field = [candidate for candidate in models if part in candidate.model_fields]
        if len(models) == 1 and (with_field or not _is_member_name(part, options)):
            owner = models[0]
            field = owner.model_fields.get(str(part))
            doc = (field.description or "") if field is not None else ""
            at = field.annotation if field is not None else None
            written.append(part)
        elif len(models) > 1 and (tagged := [m for m in models if part in _tags(m)]):
            at = tagged[0]
        elif isinstance(part, int) or any(get_origin(option) is not None for option in options):
            at = _element_type(options)
            written.append(part)
        elif not _is_member_name(part, options):
            written.append(part)
            at = None
    return tuple(written), owner, doc


def _as_written(location: Location, unresolved: object) -> Location:
    """Return a location without the keys that the file omits because it has a bare value or list in their place."""
    written: list[int | str] = []
    at: Any = unresolved
    for part in location:
        if isinstance(part, str) and at is not None and not isinstance(at, Mapping):
            continue
        written.append(part)
        if isinstance(at, Mapping):
            at = at.get(part)
        else:
            at = at[part] if isinstance(at, (list, tuple)) and isinstance(part, int) and part < len(at) else None
    return tuple(written)


def _tags_at(model: type[BaseModel], location: Location) -> list[str]:
    at: Any = model
    for part in location:
        for option in _unwrapped(at):
            if isinstance(option, type) and issubclass(option, BaseModel) and part in option.model_fields:
                at = option.model_fields[str(part)].annotation
                break
        else:
            at = _element_type(_unwrapped(at))
    return [str(tag) for option in _unwrapped(at) for tag in _tags(option)]


def _is_member_name(part: int | str, options: Sequence[Any]) -> bool:
    names = {getattr(option, "__name__", str(option)) for option in options} | {"str", "int", "float", "bool", "list"}
    return isinstance(part, str) and (part in names or "[" in part or "-" in part)


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def _unwrapped(annotation: Any) -> list[Any]:
    """Return the members of a union except None, or [annotation] for anything else. `Annotated` is removed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _unwrapped(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for option in get_args(annotation) for member in _unwrapped(option)]
    return [] if annotation in (None, type(None)) else [annotation]


def _element_type(options: Sequence[Any]) -> Any:
    for option in options:
        arguments = [argument for argument in get_args(option) if argument is not Ellipsis]
        if arguments:
            return arguments[-1]
    return None
