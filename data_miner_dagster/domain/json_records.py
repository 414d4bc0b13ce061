"""Conversion of records to JSON and back. Both use the fields of the record's frozen dataclass."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

_Record = TypeVar("_Record")

_adapters: Final[dict[type, TypeAdapter[Any]]] = {}


def as_json(record: Any) -> dict[str, Any]:
    """Return a record's fields, in order, as a dict that JSON can represent. `from_json` restores an equal record."""
    content: dict[str, Any] = _adapter(type(record)).dump_python(record, mode="json")
    return content


def from_json(kind: type[_Record], content: Mapping[str, object]) -> _Record:
    """Restore a record from the output of `as_json`, even after it was written to a file and read back.

    Values are not coerced: text is not accepted as a number, and unknown names are errors.

    Raises:
        ValueError: `content` is not a record of this kind.
    """
    if not isinstance(content, Mapping):
        raise ValueError(
            f"the content has type {type(content).__name__}; it must be a mapping with the fields of {kind.__name__}"
        )
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(map(str, content.keys() - names)):
        raise ValueError(f"{kind.__name__} does not have these fields: {', '.join(unknown)}")
    record: _Record = _adapter(kind).validate_json(json.dumps(content), strict=True)
    return record


def _adapter(kind: type) -> TypeAdapter[Any]:
    """Return the adapter for a kind of record. Adapters are cached, because building one takes a millisecond."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
