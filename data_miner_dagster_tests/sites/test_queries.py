"""The addresses of searches, hashtags and channels are those that yt-dlp's extractors accept."""

from collections.abc import Iterator

import pytest

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL
from data_miner_dagster.sites.queries import channel_address, hashtag_address, search_address


@pytest.fixture(scope="module")
def ydl() -> Iterator[GuardedYoutubeDL]:
    made = GuardedYoutubeDL(DownloadingConfig())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("site", "address", "extractor"),
    [
        ("youtube", "ytsearch5:red cars", "YoutubeSearch"),
        ("youtube_newest", "https://www.youtube.com/results?search_query=red+cars&sp=CAI%3D", "YoutubeSearchURL"),
        ("google_video", "gvsearch5:red cars", "GoogleSearch"),
        ("bilibili", "bilisearch5:red cars", "BiliBiliSearch"),
        ("niconico", "nicosearch5:red cars", "NicovideoSearch"),
        ("yahoo", "yvsearch5:red cars", "YahooSearch"),
    ],
)
def test_search_address(ydl: GuardedYoutubeDL, site: str, address: str, extractor: str) -> None:
    assert search_address(site, "red cars", 5) == address
    assert ydl.extractor_for(address).ie_key() == extractor


@pytest.mark.parametrize("tag", ["#StreetArt", " streetart "])
def test_hashtag_address(ydl: GuardedYoutubeDL, tag: str) -> None:
    address = hashtag_address(tag)
    assert address == "https://www.youtube.com/hashtag/streetart"
    assert ydl.extractor_for(address).ie_key() == "YoutubeTab"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("@name", "https://www.youtube.com/@name/videos"),
        ("https://www.youtube.com/@name/", "https://www.youtube.com/@name/videos"),
        ("https://www.youtube.com/channel/UC123", "https://www.youtube.com/channel/UC123/videos"),
        ("https://www.youtube.com/@name/shorts", "https://www.youtube.com/@name/shorts"),
        ("https://vimeo.com/staff", "https://vimeo.com/staff"),
    ],
)
def test_channel_address(ydl: GuardedYoutubeDL, channel: str, address: str) -> None:
    assert channel_address(channel) == address
    assert ydl.extractor_for(address).ie_key() != "Generic"
