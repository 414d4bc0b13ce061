"""Tests that text from strangers is cleaned on input and made printable on output."""

import json

import pytest

from data_miner_dagster.domain.foreign_text import clean_number, clean_text, clean_texts, clean_whole, printable


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("", None),
        (None, None),
        ("  a \n b\tc ", "a b c"),
        ("x\x1b]52;c;ZXZpbA==\x1b\\ \x1b[31mRED \x9b31m \x07", "x]52;c;ZXZpbA==\\ [31mRED 31m"),
        ("nul\x00 \ud800 lone", "nul \ufffd lone"),
        ("ab\u202ecd\u2066ef\u200fgh\u200bij\ufeff", "abcdefghij"),
        ("next\x85line\u2028sep", "next line sep"),
        ("\u0645\u06cc\u200c\u0634\u0648\u062f 👩\u200d🚒", "\u0645\u06cc\u200c\u0634\u0648\u062f 👩\u200d🚒"),
        (12, "12"),
        (True, None),
        ({"a": 1}, None),
        (["a"], None),
        ("\x00\u202e", None),
        ("a" * 6000, "a" * 5000),
    ],
)
def test_clean_text(value: object, cleaned: str | None) -> None:
    assert clean_text(value) == cleaned


def test_clean_text__a_number_of_too_many_digits() -> None:
    assert clean_text(10**5000) is None


def test_clean_texts__number_and_lengths() -> None:
    assert clean_texts(["a", {"b": 1}, "c\x00", None, "d" * 999]) == ("a", "c", "d" * 200)
    assert len(clean_texts(["a"] * 5000)) == 200
    assert clean_texts({"a": "\ud800"}) == ()
    assert clean_texts("abc") == ()


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (1.5, 1.5), (float("inf"), None), (float("nan"), None), (10**40, None), ("1", None), (True, None)],
)
def test_clean_number(value: object, number: float | None) -> None:
    assert clean_number(value) == number


@pytest.mark.parametrize(
    ("value", "whole"),
    [(0, 0), (-1, None), (2**31 - 1, 2**31 - 1), (2**31, None), (1e22, None), (719.9, 719), (float("inf"), None)],
)
def test_clean_whole__within_an_integer_column(value: object, whole: int | None) -> None:
    assert clean_whole(value, 2**31 - 1) == whole


def test_printable__escapes_what_a_terminal_acts_upon_and_stays_json() -> None:
    hostile = "x\x1b]52;c;Zg==\x07 \x9b31m \u202eflip \udcff \U000e0041"
    shown = printable(hostile)
    assert shown == r"x\u001b]52;c;Zg==\u0007 \u009b31m \u202eflip \udcff \udb40\udc41"
    assert json.loads(printable(json.dumps({"a": hostile}, ensure_ascii=False))) == {"a": hostile}
    assert printable("zwei\tSpalten\nünd 👩\u200d🚒") == "zwei\tSpalten\nünd 👩\u200d🚒"
