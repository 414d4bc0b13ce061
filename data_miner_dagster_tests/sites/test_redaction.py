"""Secrets are removed from texts."""

import pytest

from data_miner_dagster.domain.secret_values import remember_secret
from data_miner_dagster.sites.redaction import redact, redact_url


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error: token=5EC12E7; gone", "error: token=***; gone"),
        ("Cookie: a=5EC12E7; b=5EC12E8 and more", "Cookie: *** and more"),
        ('{"password": "5EC 12E7", "id": 7}', '{"password": ***, "id": 7}'),
        ("X-Api-Key: 5EC12E7", "X-Api-Key: ***"),
        ("clientSecret = 5EC12E7", "clientSecret = ***"),
        ("visitorData=5EC12E7&v=abc", "visitorData=***&v=abc"),
        ("authorization: Digest 5EC12E7", "authorization: ***"),
        ("no such key: filtering.positive", "no such key: filtering.positive"),
        ("video_key=youtube-abc partition_key: p", "video_key=youtube-abc partition_key: p"),
        ("monkey=business", "monkey=business"),
        ("KeyError: 'title' (sites/metadata.py:9)", "KeyError: 'title' (sites/metadata.py:9)"),
    ],
)
def test_redact__values_behind_names_of_secrets(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_redact__takes_time_proportional_to_the_text() -> None:
    for text in ("x-" * 200_000, "a:" * 200_000, "token=" * 100_000, "cookie: " + "a=b;" * 100_000, "<meta " * 50_000):
        assert len(redact(text)) <= len(text) + 10  # quadratic time would be hours
