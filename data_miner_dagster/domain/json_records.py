"""Records as JSON can carry them, and back: both ends from the fields of the same frozen dataclass."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

_Record = TypeVar("_Record")

_adapters: Final[dict[type, TypeAdapter[Any]]] = {}


def as_json(record: Any) -> dict[str, Any]:
    """Return a record's fields, in their order, as plain values; `from_json` of it is equal."""
    content: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json")
    return content


def from_json(kind: type[_Record], content: Mapping[str, object]) -> _Record:
    """Return the record that `as_json` was made from, also after a trip through a file.

    Nothing is made to fit: a text is no number, and a name that is no field's is a mistake.

    Raises:
        ValueError: it is not what a record of this kind gives.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{type(content).__name__} is no {kind.__name__}")
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(map(str, content.keys() - names)):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    record: _Record = _adapter(kind).validate_json(json.dumps(content), strict=True)
    return record


def _adapter(kind: type) -> TypeAdapter[Any]:
    """Made once for each kind, which takes a millisecond."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
