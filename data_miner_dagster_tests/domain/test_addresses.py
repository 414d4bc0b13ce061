"""Which addresses carry a secret in plain."""

import pytest

from data_miner_dagster.domain.addresses import secret_in_address


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("", None),
        ("https://a.test/x.mp4", None),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&list=PL0123456789", None),
        ("https://a.test/x?monkey=business&signal=0123456789", None),
        ("https://a.test/x?key=3", None),
        ("https://a.test/x?token={env:TOKEN}", None),
        ("https://a.test/x?auth=Bearer%20{env:TOKEN}&api_key=0123456789", "parameter 'api_key'"),
        ("https://a.test/x?X-Amz-Signature=0123456789", "parameter 'X-Amz-Signature'"),
        ("https://a.test/x#access_token=0123456789", "parameter 'access_token'"),
        ("https://me:pass@a.test/x", "a password"),
        ("https://me:{env:PASSWORD}@a.test/x", None),
        ("https://me@a.test/x", None),
        ("http://[broken", None),
    ],
)
def test_secret_in_address(address: str, found: str | None) -> None:
    assert secret_in_address(address) == found
