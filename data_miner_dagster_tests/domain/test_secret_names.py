"""Tests which names are recognized as names of secrets."""

import pytest

from data_miner_dagster.domain.secret_names import is_secret_name


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "po_token",
        "accessToken",
        "access_token",
        "X-Amz-Signature",
        "Key-Pair-Id",
        "api_key",
        "apiKey",
        "x-api-key",
        "SECRET_KEY",
        "sig",
        "hmac",
        "Cookie",
        "Set-Cookie",
        "Authorization",
        "passwd",
        "passphrase",
        "visitor_data",
        "sessionid",
        "jwt",
        "credentials",
    ],
)
def test_is_secret_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["", "monkey", "keyword", "signal", "design", "author", "id", "v", "page", "tokenizer"]
)
def test_is_secret_name__ordinary_words(name: str) -> None:
    assert not is_secret_name(name)
