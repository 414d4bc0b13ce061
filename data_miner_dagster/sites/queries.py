"""Build the addresses of searches, hashtags and channels in the form that yt-dlp's extractors accept."""

import re
import urllib.parse
from typing import Final

_SEARCH_PREFIX: Final = {
    "youtube": "ytsearch",
    "google_video": "gvsearch",
    "bilibili": "bilisearch",
    "niconico": "nicosearch",
    "yahoo": "yvsearch",
}
_YOUTUBE_HOSTS: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com"})
_TAB: Final = re.compile(r"/(?:@[^/]+|(?:channel|c|user)/[^/]+)/?$")


def search_address(site: str, words: str, max_results: int) -> str:
    """Return the address of a search: a pseudo-address such as `ytsearch50:red cars`.

    For the site `youtube_newest`, return a URL, which cannot express `max_results`.
    """
    if site == "youtube_newest":  # `sp` is YouTube's own filter: sorted by upload date
        return f"https://www.youtube.com/results?{urllib.parse.urlencode({'search_query': words, 'sp': 'CAI='})}"
    return f"{_SEARCH_PREFIX[site]}{max_results}:{' '.join(words.split())}"


def hashtag_address(tag: str) -> str:
    """Return the address of a hashtag's page on YouTube."""
    return f"https://www.youtube.com/hashtag/{urllib.parse.quote(tag.strip().lstrip('#').lower(), safe='')}"


def channel_address(channel: str) -> str:
    """Return the address of a channel's videos, adding the `videos` tab to a bare `@handle` or YouTube channel URL.

    Without the tab, yt-dlp lists a channel's tabs (videos, shorts, live) instead of videos. Any other address is
    returned unchanged.
    """
    if channel.startswith("@"):
        return f"https://www.youtube.com/{channel}/videos"
    parts = urllib.parse.urlsplit(channel)
    if (parts.hostname or "") in _YOUTUBE_HOSTS and _TAB.fullmatch(parts.path):
        return urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/videos"))
    return channel
