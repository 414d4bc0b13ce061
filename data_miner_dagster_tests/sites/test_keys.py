"""The keys of videos from sites."""

from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.domain.keys import check_video_key
from data_miner_dagster.sites.keys import is_direct_video_url, key_of_site_video, key_of_url


def test_key_of_site_video__safe_id_is_kept() -> None:
    assert key_of_site_video("youtube", "dQw4w9WgXcQ") == "youtube-dQw4w9WgXcQ"
    assert key_of_site_video("youtube", "-_w4w9WgXcQ") == "youtube--_w4w9WgXcQ"
    assert key_of_site_video("BiliBili:Bangumi", "BV1") == "bilibili_bangumi-BV1"


def test_key_of_site_video__unsafe_id_is_hashed_and_readable() -> None:
    key = key_of_site_video("archive.org", "../../etc/passwd")
    assert key.startswith("archive_org-etc-passwd.")
    assert "/" not in key
    assert ".." not in key


@given(st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=2, unique=True))
def test_key_of_site_video__different_ids_have_different_valid_keys(ids: list[str]) -> None:
    first, second = (check_video_key(key_of_site_video("site", video_id)) for video_id in ids)
    assert first != second


def test_key_of_site_video__an_id_that_looks_hashed_is_hashed_again() -> None:
    hashed = key_of_site_video("site", "a/b").removeprefix("site-")
    assert key_of_site_video("site", hashed) != f"site-{hashed}"


def test_key_of_url__same_name_on_two_hosts_differs() -> None:
    first, second = key_of_url("http://a.test/v/clip.mp4"), key_of_url("http://b.test/v/clip.mp4")
    assert first != second
    assert first.startswith("generic-clip.")


def test_key_of_url__spelling_of_the_host_does_not_matter_and_the_query_does() -> None:
    assert key_of_url("http://A.test:80/clip.mp4#t=1") == key_of_url("http://a.test/clip.mp4")
    assert key_of_url("http://a.test/clip.mp4?x=1") != key_of_url("http://a.test/clip.mp4?x=2")


def test_is_direct_video_url() -> None:
    assert is_direct_video_url("http://a.test/x/CLIP.MP4?sig=1")
    assert not is_direct_video_url("http://a.test/watch?v=clip.mp4")
