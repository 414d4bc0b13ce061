"""Tests that Markdown shows texts from strangers and users verbatim."""

import pytest

from data_miner_dagster.export.card import CardNotes
from data_miner_dagster.export.templating import _cell, _code, _estimate, _prose, render


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "unknown"),
        ("a | b", r"a \| b"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("![](http://a.test/t) `x`", r"!\[\](http://a.test/t) \`x\`"),
        ("two\nlines", "two lines"),
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


def test_estimate__in_percent_or_unknown() -> None:
    assert _estimate({"value": 0.9251, "low": 0.88, "high": 1.0}) == "92.5 % (88.0 to 100.0)"
    assert _estimate(None) == "–"
    assert _estimate(None, "not measured") == "not measured"


def test_code__between_backticks_and_escaped() -> None:
    assert _code("say `data-miner run` <now>") == "say <code>data-miner run</code> &lt;now&gt;"
    assert _code("`<b>`") == "<code>&lt;b&gt;</code>"


def test_render__holds_no_control_characters() -> None:
    header = {"title": "x\x1b[31m", "description": "flip \u202e \udcff", "class_names": ()}
    text = render(
        "card.md.j2",
        header=header,
        tally={"num_images": 1, "num_boxes": 2},
        is_image_folder=False,
        notes=CardNotes(),
        forbidding=(),
        front_matter="a: b\n",
    )
    assert r"# x\u001b[31m" in text
    assert r"flip \u202e \udcff" in text
    assert text.startswith("---\na: b\n---\n")
