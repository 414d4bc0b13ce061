"""What strangers and users write, as markdown shows it: word for word."""

import pytest

from data_miner_dagster.export.templating import _cell, _prose


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "unknown"),
        ("a | b", r"a \| b"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("![](http://a.test/t) `x`", r"!\[\](http://a.test/t) \`x\`"),
        ("two\nlines", "two lines"),
        ("\x1b[31mred\u202e", r"\\u001b\[31mred\\u202e"),
    ],
)
def test_cell(value: object, shown: str) -> None:
    assert _cell(value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bicycles and traffic, from four sample clips.", "Bicycles and traffic, from four sample clips."),
        ("One.\n\nTwo.", "One.\n\nTwo."),
        ("# Heading\n---\n- item", "\\# Heading\n\\---\n\\- item"),
        ("<script>x</script> [a](javascript:x)", r"\<script\>x\</script\> \[a\](javascript:x)"),
    ],
)
def test_prose(text: str, shown: str) -> None:
    assert _prose(text) == shown
