"""Secrets kept out of texts."""

import pytest

from data_miner_dagster.sites.redaction import redact, redact_url, remember_secret


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.test/x.mp4", "https://a.test/x.mp4"),
        ("https://www.youtube.com/watch?v=abc&si=tracker", "https://www.youtube.com/watch?v=abc&si=***"),
        ("https://user:pass@a.test:8080/x?X-Amz-Signature=5e", "https://a.test:8080/x?X-Amz-Signature=***"),
        ("https://a.test/x#access_token=5e", "https://a.test/x"),
        ("https://a.test/x?token={env:TOKEN}", "https://a.test/x?token={env:TOKEN}"),
        ("https://a.test/x?bare5ecret", "https://a.test/x?***"),
    ],
)
def test_redact_url(url: str, expected: str) -> None:
    assert redact_url(url) == expected


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.test/v?sig=5EC12E7 failed",
        "Authorization: Bearer 5EC12E7",
        "Cookie: session=5EC12E7",
        "po_token=5EC12E7 is bad",
        "http://me:5EC12E7@proxy.test:80 refused",
    ],
)
def test_redact__no_secret_survives(text: str) -> None:
    assert "5EC12E7" not in redact(text)


def test_redact__words_stay() -> None:
    assert redact("HTTP Error 404: Not Found") == "HTTP Error 404: Not Found"


def test_redact__remembered_values_in_any_spelling() -> None:
    remember_secret("my+long/secret")
    assert redact("a my+long/secret b my%2Blong%2Fsecret c") == "a *** b *** c"
