"""Tests of the conversion of records to JSON and back."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data_miner_dagster.domain.json_records import as_json, from_json


class Part(NamedTuple):
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Whole:
    name: str
    path: Path
    seconds: float
    parts: tuple[Part, ...]
    pairs: dict[str, tuple[int, int]]
    made: date | None = None


WHOLE = Whole("ü", Path("/a/b"), 1.5, (Part("x", 1), Part("y", 2)), {"k": (3, 4)}, date(2026, 11, 28))
PLAIN = {
    "name": "ü",
    "path": "/a/b",
    "seconds": 1.5,
    "parts": [["x", 1], ["y", 2]],
    "pairs": {"k": [3, 4]},
    "made": "2026-11-28",
}


def test_as_json__keeps_the_order_of_the_fields() -> None:
    assert json.dumps(as_json(WHOLE)) == json.dumps(PLAIN)


def test_from_json__of_a_file() -> None:
    assert from_json(Whole, json.loads(json.dumps(PLAIN))) == WHOLE
    assert from_json(Whole, {**PLAIN, "seconds": 2, "made": None}).seconds == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "1.5"},
        {"seconds": None},
        {"name": 3},
        {"parts": [["x", "1"]]},
        {"parts": [["x"]]},
        {"parts": {"x": 1}},
        {"pairs": {"k": [3]}},
        {"made": 20261128},
        {"more": 1},
    ],
)
def test_from_json__makes_nothing_fit(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Whole"):
        from_json(Whole, {**PLAIN, **change})


def test_from_json__lacks_a_field() -> None:
    with pytest.raises(ValueError, match="path"):
        from_json(Whole, {name: value for name, value in PLAIN.items() if name != "path"})


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_from_json__is_no_record(content: Any) -> None:
    with pytest.raises(ValueError, match="the fields of Whole"):
        from_json(Whole, content)
