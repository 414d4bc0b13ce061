"""Tests which addresses contain a secret in plain text."""

import re

import pytest

from data_miner_dagster.domain.addresses import (
    AddressError,
    ForeignAddress,
    LocalPath,
    Origin,
    OwnAddress,
    address_of,
    secret_in_address,
)


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


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("https://a.test/x.mp4", "https://a.test/x.mp4"),
        (" HTTP://A.test:8080/x ", "HTTP://A.test:8080/x"),
        ("https://a.test/x.mp4?k={env:HF_TOKEN}", "https://a.test/x.mp4?k=%7Benv:HF_TOKEN%7D"),
        ("https://a.test/\u202ex", "https://a.test/%E2%80%AEx"),
        ("https://a.test/\r\n\tx\u2028y", "https://a.test/x%E2%80%A8y"),
        ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]:443/x"),
        ("https://bücher.test/x", "https://bücher.test/x"),
    ],
)
def test_foreign_address__parse(text: str, taken: str) -> None:
    address = ForeignAddress.parse(text)
    assert address.text == taken
    assert ForeignAddress(taken) == address  # a stored address can be read again


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither http nor https"),
        ("/home/me/private.mp4", "neither http nor https"),
        ("~/private.mp4", "neither http nor https"),
        ("../private.mp4", "neither http nor https"),
        ("file:///home/me/private.mp4", "neither http nor https"),
        ("javascript:alert(1)", "neither http nor https"),
        ("data:video/mp4;base64,AAAA", "neither http nor https"),
        ("rtmp://a.test/live", "neither http nor https"),
        ("http://a.test:999999/v.mp4", "malformed (Port out of range 0-65535)"),
        ("http://a.test:12a/v.mp4", "malformed (Port could not be cast to integer value as '12a')"),
        ("http://[::1/v.mp4", "malformed (Invalid IPv6 URL)"),
        ("http:///v.mp4", "has no host"),
        ("http://{env:HF_TOKEN}.evil.test/", "malformed"),
        ("http://{HF_TOKEN}.evil.test/", "the host is malformed"),
        (f"http://{'a' * 64}.test/", "the host is malformed"),
        ("http://a.test/\x00", "control characters"),
        ("http://a.test/\ud800", "control characters"),
        ("http://a.test/" + "a" * 2000, "more than 2000 characters"),
    ],
)
def test_foreign_address__refused(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=re.escape(reason)):
        ForeignAddress.parse(text)


@pytest.mark.parametrize("text", ["dQw4w9WgXcQ", "wistia:abc", "https://a.test/x"])
def test_foreign_address__of_extractor(text: str) -> None:
    assert ForeignAddress.of_extractor(text).text == text


@pytest.mark.parametrize("text", ["/etc/passwd", "~/x", "file:/etc/passwd", "FILE:x", "data:x", "rtmp://h/x", ""])
def test_foreign_address__of_extractor_reads_no_file(text: str) -> None:
    with pytest.raises(AddressError):
        ForeignAddress.of_extractor(text)


def test_address_of__by_who_wrote_it() -> None:
    assert address_of(Origin.LOCAL, "/a b.mp4") == LocalPath("/a b.mp4")
    assert address_of(Origin.OWN, "http://a.test/{env:X}") == OwnAddress("http://a.test/{env:X}")
    assert address_of(Origin.FOREIGN, "http://a.test/x") == ForeignAddress("http://a.test/x")
    for text in ("/a.mp4", "http://a.test/{env:X}"):
        with pytest.raises(AddressError):
            address_of(Origin.FOREIGN, text)
