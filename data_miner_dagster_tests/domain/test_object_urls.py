import pytest

from data_miner_dagster.domain.addresses import AddressError, ForeignAddress
from data_miner_dagster.domain.object_urls import ObjectUrl, is_object_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        (" S3://my.bucket-1/a b/ü.mp4 ", ("s3", "my.bucket-1", "a b/ü.mp4")),
        ("gs://bucket/folder/", ("gs", "bucket", "folder")),
        ("az://container/a", ("az", "container", "a")),
        ("hf://datasets/owner/name", ("hf", "datasets", "owner/name")),
    ],
)
def test_parse__of_what_a_user_may_write(text: str, expected: tuple[str, str, str]) -> None:
    url = ObjectUrl.parse(text)
    assert (url.protocol, url.bucket, url.path) == expected
    assert ObjectUrl.parse(url.text) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the address of a bucket"),
        ("bucket/a", "not the address of a bucket"),
        ("/s3://bucket/a", "not the address of a bucket"),
        ("simplecache::s3://bucket/a", "chains"),
        ("s3::file:///etc/passwd", "chains"),
        ("s3://bucket/a::b", "chains"),
        ("file:///etc/passwd", "protocol .* is not supported; use one of"),
        ("http://bucket/a", "protocol .* is not supported; use one of"),
        ("s3a://bucket/a", "protocol .* is not supported; use one of"),
        ("s3://key:secret@bucket/a", "credentials"),
        ("s3://key@bucket/a", "credentials"),
        ("s3://127.0.0.1:9000/a", "credentials or a port"),
        ("s3:///a", "bucket's name is not valid"),
        ("s3://b/a", "bucket's name is not valid"),
        ("s3://../a", "bucket's name is not valid"),
        ("s3://buc..ket/a", "bucket's name is not valid"),
        ("s3://bucket/../other/a", "'..'"),
        ("s3://bucket/a/./b", "'.'"),
        ("s3://bucket//a", "empty part"),
        ("s3://bucket/a?versionId=1", "not allowed"),
        ("s3://bucket/a#b", "not allowed"),
        ("s3://bucket/*.mp4", "not allowed"),
        ("s3://bucket/a\\b", "not allowed"),
        ("s3://bucket/a\nb", "not allowed"),
        ("s3://bucket/" + "a" * 1025, "1024 bytes"),
    ],
)
def test_parse__of_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        ObjectUrl.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "prefix", "expected"),
    [
        ("s3://bucket/a/b", "s3://bucket", True),
        ("s3://bucket/a/b", "s3://bucket/a", True),
        ("s3://bucket/a", "s3://bucket/a", True),
        ("s3://bucket/ab", "s3://bucket/a", False),
        ("s3://bucket2/a", "s3://bucket", False),
        ("gs://bucket/a", "s3://bucket", False),
    ],
)
def test_is_within__by_whole_parts(text: str, prefix: str, *, expected: bool) -> None:
    assert ObjectUrl.parse(text).is_within(ObjectUrl.parse(prefix)) is expected


@pytest.mark.parametrize("text", ["s3://b/a", "S3://b/a", "gs://b/a", "az://b/a", "hf://b/a", "s3::http://b/a"])
def test_foreign_text__never_becomes_one(text: str) -> None:
    assert is_object_address(text)
    for read in (ForeignAddress.parse, ForeignAddress.of_extractor, ForeignAddress):
        with pytest.raises(AddressError):
            read(text)
