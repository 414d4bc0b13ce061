"""Cursors come back from a browser, so they may contain anything."""

import base64
import json

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.reviewing.cursors import Cursor


def test_decoded__what_was_encoded() -> None:
    cursor = Cursor((0.1, -3.0), "files-aaa/000012", 2)
    assert Cursor.decoded(cursor.encoded()) == cursor


@pytest.mark.parametrize(
    "content",
    [
        [["0x1p+0"], "nonsense", 0],
        [["0x1p+0"], "files-aaa/first", 0],
        [["0x1p+99999"], "files-aaa/000012", 0],
        [["0x1p+0"], "files-aaa/000012", None],
        {},
    ],
)
def test_decoded__anything_else_is_refused(content: object) -> None:
    text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    with pytest.raises(ConfigError, match="is not a valid cursor; start again with the first page"):
        Cursor.decoded(text)
