"""Tests of the format of keys, names and ids."""

import hashlib

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import (
    check_project_name,
    check_video_key,
    forgotten_subject,
    frame_file_name,
    make_frame_id,
    split_frame_id,
)


@pytest.mark.parametrize(
    "key", ["youtube-dQw4w9WgXcQ", "youtube--A_b-C.d", "files-0", "files-.a", "a_1-b", "files-" + "x" * 194]
)
def test_check_video_key__returns_a_good_one(key: str) -> None:
    assert check_video_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "nodash",
        "-a",
        "youtube-",
        "YouTube-a",
        "files-a/b",
        "files-a...b",
        "files-..",
        "files-a.",
        "files-a b",
        "files-ä",
        "files-a\n",
        "../files-a",
        "files-" + "x" * 195,
    ],
)
def test_check_video_key__says_what_is_wrong_with_a_bad_one(key: str) -> None:
    with pytest.raises(ConfigError, match=r"is not valid; use '<extractor>-<id>', .* at most 200") as raised:
        check_video_key(key)
    assert repr(key) in str(raised.value)


@pytest.mark.parametrize("name", ["a", "Pets_2.1-b", "v001", "x" * 100])
def test_check_project_name__returns_a_good_one(name: str) -> None:
    assert check_project_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a..b", "a.", "a b", "ä", "a\n", "x" * 101])
def test_check_project_name__says_what_is_wrong_with_a_bad_one(name: str) -> None:
    with pytest.raises(ConfigError, match="is not valid; use at most 100 letters") as raised:
        check_project_name(name)
    assert repr(name) in str(raised.value)


def test_make_frame_id__sorts_by_video_then_by_time() -> None:
    ids = [make_frame_id("files-a", 2), make_frame_id("files-a", 10), make_frame_id("files-b", 0)]
    assert ids == ["files-a/000002", "files-a/000010", "files-b/000000"] == sorted(ids)
    assert [split_frame_id(frame_id) for frame_id in ids] == [("files-a", 2), ("files-a", 10), ("files-b", 0)]


def test_frame_file_name__has_six_digits_and_the_extension() -> None:
    assert (frame_file_name(7), frame_file_name(123456, "png")) == ("000007.jpg", "123456.png")


def test_forgotten_subject__holds_the_kind_and_not_the_name() -> None:
    expected = hashlib.sha256("Ünder".encode()).hexdigest()
    assert forgotten_subject("channel", "Ünder") == f"channel/{expected}"
    assert forgotten_subject("video", "Ünder") != forgotten_subject("channel", "Ünder")
